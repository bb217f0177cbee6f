"""`ig3 events` and `ig3 streams`: what is stored, as JSON lines, and whether the broker is as it should be."""

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.processes import PATIENCE_S, wait_until
from tests.running_mesh import IG3, Parts, RunningMesh, running_parts

pytestmark = pytest.mark.timeout(240)


def replayed(mesh: RunningMesh, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in mesh.place.ok("events", "replay", *arguments).splitlines()]


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"]["type"] for event in events]


@pytest.fixture(scope="module")
def task(synthetic: RunningMesh) -> str:
    """A task that has ended."""
    done = synthetic.place.ok("tasks", "submit", "hello", "--max-tokens", "5").strip()
    synthetic.place.ok("tasks", "show", done, "--follow")
    return done


def test_all_that_is_stored_about_a_task(synthetic: RunningMesh, task: str) -> None:
    events = replayed(synthetic, "--task", task, "--no-chunks")
    assert types(events) == ["task.submitted.v1", "task.assigned.v1", "task.ended.v1", "task.completed.v1"]
    assert [event["stream"][:7] for event in events] == ["TASKS", "RESULTS", "RESULTS", "ENDED"]
    times = [datetime.fromisoformat(event["time"]) for event in events]
    assert times[0] < times[1] < times[3]
    texts = [event["event"]["text"] for event in replayed(synthetic, "--task", task) if "text" in event["event"]]
    assert "".join(texts) == synthetic.place.ok("tasks", "show", task).rstrip("\n")


def test_from_a_sequence_a_time_and_at_most_so_many(synthetic: RunningMesh, task: str) -> None:
    everything = replayed(synthetic, "TASKS")
    assert [event["sequence"] for event in everything] == list(range(1, len(everything) + 1))
    assert replayed(synthetic, "TASKS", "--after", str(len(everything) - 1)) == everything[-1:]
    assert replayed(synthetic, "TASKS", "--since", everything[-1]["time"])[-1:] == everything[-1:]
    assert replayed(synthetic, "TASKS", "--since", "0s") == []
    assert replayed(synthetic, "TASKS", "--limit", "1") == everything[:1]
    assert replayed(synthetic, "--account", "nobody") == []


def test_a_stream_of_another_kind(synthetic: RunningMesh) -> None:
    # On a busy machine a node may be lost for a moment, which is noted there as well.
    found = set(types(replayed(synthetic, "MODELS")))
    assert "model.announced.v1" in found
    assert {name.partition(".")[0] for name in found} == {"model"}


def test_all_that_is_believed_is_what_the_log_says(synthetic: RunningMesh, task: str) -> None:
    counts: list[int] = []

    def both_rosters_are_compared() -> bool:
        # A service that stands still when all are asked has nothing to say.
        report = json.loads(synthetic.place.ok("events", "verify", "--json"))
        assert report["differences"] == []
        compared = {one["projection"]: one["compared"] for one in report["comparisons"]}
        assert compared["ends"] >= 1
        counts.append(len(compared))
        return compared["roster.models"] >= 2

    wait_until(both_rosters_are_compared)
    table = synthetic.place.ok("events", "verify")
    assert table.count("equal") == counts[-1] >= 5
    assert "differ" not in table


def test_a_reader_that_leaves_is_no_error(synthetic: RunningMesh, task: str) -> None:
    done = synthetic.place.run("bash", "-c", f"{IG3} events replay | head -n 1")
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_the_tail_follows_until_ctrl_c(synthetic: RunningMesh) -> None:
    tail = subprocess.Popen(
        [IG3, "events", "tail", "--account", "local", "--no-chunks"],
        env=synthetic.place.variables,
        cwd=synthetic.place.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    output = tail.stdout
    assert output is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(output))
    reader.start()

    def told(task: str) -> list[str]:
        return types([json.loads(line) for line in lines if task in line])

    def told_from_its_start() -> list[str]:
        return [task for task in sent if "task.submitted.v1" in told(task)]

    def a_task_was_told_from_its_start() -> bool:
        # It says nothing when it begins to listen, so tasks are sent until it is heard to; of which it may be late.
        sent.append(synthetic.place.ok("tasks", "submit", "hello", "--max-tokens", "2").strip())
        synthetic.place.ok("tasks", "show", sent[-1], "--follow")
        return bool(told_from_its_start())

    sent: list[str] = []
    try:
        wait_until(a_task_was_told_from_its_start)
        last = told_from_its_start()[-1]
        wait_until(lambda: len(told(last)) == 4)
    finally:
        tail.send_signal(signal.SIGINT)
        assert tail.wait(timeout=PATIENCE_S) == 130
        reader.join()
        output.close()
    # Three streams are followed at once: each is in order, they are mixed as they come.
    assert set(told(last)) == {"task.submitted.v1", "task.assigned.v1", "task.ended.v1", "task.completed.v1"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("NOPE",), "there is no stream NOPE: there are TASKS, RESULTS_0"),
        (("--since", "yesterday"), "--since 'yesterday' is no time"),
        (("--since", "1m", "--after", "1"), "--after and --since both say where to begin"),
        (("--follow", "--limit", "1"), "--limit ends a replay"),
        (("--task", "x"), "'x' is not a task id"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_are_one_line_and_status_1(synthetic: RunningMesh, arguments: tuple[str, ...], problem: str) -> None:
    done = synthetic.place.ig3("events", "replay", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ig3: {problem}")
    assert done.stderr.count("\n") == 1


def test_the_streams_of_a_mesh_are_as_they_should_be(synthetic: RunningMesh) -> None:
    header, *rows = synthetic.place.ok("streams", "check").splitlines()
    assert header.split()[0] == "STREAM/CONSUMER"
    assert {row.partition("  ")[2].strip() for row in rows} == {"as it should be"}
    assert {"TASKS", "RESULTS_3", "ENDED", "TASKS/dispatch-batch"} < {row.split()[0] for row in rows}


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """A broker alone, whose streams a test may change."""
    with running_parts(tmp_path) as parts:
        yield parts


def test_drift_is_shown_and_ends_with_status_1_until_it_is_mended(parts: Parts) -> None:
    place = parts.place
    assert place.ig3("streams", "check").returncode == 0
    wanted = {"IG3_RETENTION": "12h"}
    checked = place.ig3("streams", "check", **wanted)
    assert checked.returncode == 1
    row = next(row for row in checked.stdout.splitlines() if row.startswith("TASKS "))
    assert row.split()[1:] == ["differs", "max_age:", "86400000000000", "->", "43200000000000"]
    assert "only `ig3 streams provision --shorten` does it" in checked.stderr
    assert "updated" in place.ok("streams", "provision", "--shorten", **wanted)
    assert place.ig3("streams", "check", **wanted).returncode == 0


def test_a_shorter_retention_waits_for_a_word_and_a_broker_starts_with_the_longer_one(parts: Parts) -> None:
    place = parts.place
    wanted = {"IG3_RETENTION": "12h"}
    provisioned = place.ig3("streams", "provision", **wanted)
    assert provisioned.returncode == 1
    rows = {row.split()[0]: row for row in provisioned.stdout.splitlines()}
    assert "kept as it is" in rows["TASKS"]
    assert "kept as it is" not in rows["ENDED"]
    assert "TASKS, RESULTS_0" in provisioned.stderr
    assert place.ig3("streams", "check").returncode == 0

    parts.running["broker"].stop()
    broker = parts.start("broker", **wanted)
    detail = broker.ready().detail
    assert "not as set: see `ig3 streams check`" in detail
    assert "TASKS is kept as it is (max_age: 86400000000000 -> 43200000000000)" in broker.output
    assert parts.place.ig3("streams", "check").returncode == 0


def test_surplus_streams_are_shown_and_kept(parts: Parts) -> None:
    place = parts.place
    surplus = place.ig3("streams", "check", IG3_RESULTS_STREAMS="3").stdout.splitlines()[-1].split()
    assert surplus[:3] == ["RESULTS_3", "surplus", "in"]
    assert "RESULTS_3" in place.ok("streams", "list")


def test_what_streams_hold(synthetic: RunningMesh, task: str) -> None:
    header, *rows = synthetic.place.ok("streams", "list").splitlines()
    assert header.split() == ["STREAM", "ACCOUNT", "MESSAGES", "SIZE", "SEQUENCES", "FIRST", "LAST"]
    held = {row.split()[0]: row.split() for row in rows}
    assert held["TASKS"][1] == "EDGE"
    assert int(held["TASKS"][2]) == len(replayed(synthetic, "TASKS"))
    assert held["ENDED"][1] == "CORE"
