"""``ig3 simulate``: a table, JSON, and recorded logs."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from gateway.simulation.event_log import UnreadableLog, read_log
from mesh.cli import root
from streams.devices.replica import Replica
from streams.event import Event
from streams.events import ModelAnnounced, TaskCompleted, TaskSubmitted
from streams.subjects import TaskKey, submitted
from streams.tasks.chat import Message, Sampling, Usage
from streams.tokens import Token

TASKS = ("01900000000070008000000000000001", "01900000000070008000000000000002")
ASKED = TaskSubmitted(
    model="tiny", messages=(Message(role="user", content="hello " * 100),), sampling=Sampling(max_tokens=9)
)


def simulate(*arguments: str) -> str:
    done = CliRunner().invoke(root, ["simulate", *arguments], prog_name="ig3", catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def line(subject: str, second: int, event: Event | None) -> bytes:
    """One line as ``ig3 events replay`` prints it."""
    told = {"stream": "S", "sequence": 1, "time": f"2026-11-28T12:00:{second:02}Z", "subject": subject}
    return msgspec.json.encode(told if event is None else told | {"event": event})


def log_lines(model: str = "tiny") -> list[bytes]:
    keys = [TaskKey(Token("local"), Token(task)) for task in TASKS]
    replica = Replica(model=model, engine="e", context_tokens=512, slots=1, tokens_per_s=10.0)
    done = TaskCompleted(
        at_ms=1,
        model="tiny",
        final_n=3,
        finish_reason="stop",
        usage=Usage(prompt_tokens=200, completion_tokens=40),
        shares=(),
    )
    return [
        line("models.n.announced", 1, ModelAnnounced(at_ms=1, node="n", replica=replica)),
        line(submitted("standard", keys[1]), 7, ASKED),
        line(f"site.berlin.{submitted('interactive', keys[0])}", 3, ASKED),
        line(submitted("standard", keys[0]).replace("tasks.standard", "ended").removesuffix(".submitted"), 9, done),
        line("devices.n.lost", 9, None),
    ]


def test_it_prints_a_row_for_each_policy() -> None:
    rows = simulate("home", "--nodes", "2", "--policy", "latency", "--policy", "random").splitlines()
    assert rows[0].endswith("seed 101")
    assert [row.split()[0] for row in rows[3:]] == ["latency", "random"]


def test_the_same_seed_prints_the_same_and_another_one_does_not() -> None:
    asked = ("home", "--nodes", "2", "--json")
    one, again, other = simulate(*asked), simulate(*asked), simulate(*asked, "--seed", "9")
    assert one == again != other
    summaries = [json.loads(text) for text in one.splitlines()]
    assert [each["policy"] for each in summaries] == ["edge-first", "round-robin", "least-loaded", "random"]
    assert {each["nodes"] for each in summaries} == {2}


def test_a_recorded_log_gives_its_tasks_their_times_and_the_devices_that_served_them(tmp_path: Path) -> None:
    recorded = read_log(log_lines())
    assert [each.at_s for each in recorded.conversations] == [0.0, 4.0]
    first, second = (each.turns[0] for each in recorded.conversations)
    assert (first.service_class, first.prompt_tokens, first.answer_tokens) == ("interactive", 200, 40)
    assert (second.service_class, second.answer_tokens) == ("standard", 9)
    assert second.prompt_tokens == second.wish.prompt_tokens
    assert recorded.replicas["n"][0].model == "tiny"

    (tmp_path / "log").write_bytes(b"\n".join(log_lines()))
    summary = json.loads(simulate("--log", str(tmp_path / "log"), "--policy", "edge-first", "--json"))
    assert (summary["nodes"], summary["tasks"], summary["completed"]) == (1, 2, 2)


def test_a_log_without_announcements_is_replayed_on_the_devices_of_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\n".join(log_lines()[1:]))
    summary = json.loads(simulate("home", "--log", str(tmp_path / "log"), "--policy", "random", "--json"))
    assert (summary["nodes"], summary["completed"]) == (10, 2)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([b"{"], "line 1 is none"),
        ([b'{"time": "2026-11-28T12:00:00Z"}'], "line 1 is none"),
        ([line("tasks.standard.x", 1, ASKED)], "line 1 is none"),
        ([b"\xff"], "line 1 is none"),
        ([], "no task is in it"),
    ],
    ids=["not JSON", "no subject", "no task's subject", "not text", "empty"],
)
def test_what_is_no_log_is_refused(lines: list[bytes], said: str) -> None:
    with pytest.raises(UnreadableLog, match=said):
        read_log(lines)


def test_a_log_that_asks_for_what_nobody_announces_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\n".join(log_lines(model="other")))
    done = CliRunner().invoke(root, ["simulate", "--log", str(tmp_path / "log")], prog_name="ig3")
    assert isinstance(done.exception, UnreadableLog)
    assert "the log asks for tiny" in str(done.exception)
