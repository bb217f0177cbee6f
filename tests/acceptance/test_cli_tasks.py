"""`ig3 tasks` and `ig3 explain`: what a person who looks after a mesh sees of its tasks."""

import json
import re
import threading
from typing import Any

import pytest

from tests.processes import wait_until
from tests.running_mesh import RunningMesh

pytestmark = pytest.mark.timeout(240)


def listed(mesh: RunningMesh, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in mesh.place.ok("tasks", "list", "--json", *arguments).splitlines()]


def submit(mesh: RunningMesh, prompt: str, *arguments: str) -> str:
    return mesh.place.ok("tasks", "submit", prompt, *arguments).strip()


def test_a_task_from_submission_to_end(synthetic: RunningMesh) -> None:
    task = submit(synthetic, "a question", "--max-tokens", "9", "--urgency", "batch", "--deadline", "5m")
    assert len(synthetic.place.ok("tasks", "show", task, "--follow").split()) == 9
    found = next(one for one in listed(synthetic) if one["task"] == task)
    assert found | {"submitted_at": 0, "duration_s": 0, "node": "n"} == {
        "task": task,
        "account": "local",
        "urgency": "batch",
        "submitted_at": 0,
        "state": "completed",
        "model": "synthetic",
        "node": "n",
        "completion_tokens": 9,
        "duration_s": 0,
    }


def test_a_running_task_is_shown_so_far_and_cancelled(synthetic: RunningMesh) -> None:
    task = submit(synthetic, "a long story", "--max-tokens", "100000")
    wait_until(lambda: len(synthetic.place.ok("tasks", "show", task).split()) > 3)
    assert task in {one["task"] for one in listed(synthetic, "--running")}
    assert synthetic.place.ok("tasks", "cancel", task) == f"{task} cancelled\n"
    assert task not in {one["task"] for one in listed(synthetic, "--running")}
    shown = synthetic.place.ig3("tasks", "show", task)
    assert (shown.returncode, shown.stderr) == (1, "cancelled: cancelled by ig3 tasks cancel\n")
    # A second cancel finds what the first one left.
    assert synthetic.place.ok("tasks", "cancel", task) == f"{task} cancelled\n"


def test_following_an_answer_goes_on_where_it_is(synthetic: RunningMesh) -> None:
    task = submit(synthetic, "a story", "--max-tokens", "100")
    texts: list[str] = []
    readers = [
        threading.Thread(target=lambda: texts.append(synthetic.place.ok("tasks", "show", task, "-f"))) for _ in range(2)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert [len(text.split()) for text in texts] == [100, 100]


def test_the_latest_come_first_and_as_many_as_asked_for(synthetic: RunningMesh) -> None:
    tasks = [submit(synthetic, f"question {number}", "--max-tokens", "1") for number in range(3)]
    assert [one["task"] for one in listed(synthetic, "-n", "3")] == tasks[::-1]
    assert len(listed(synthetic, "-n", "2")) == 2
    assert listed(synthetic, "--of", "nobody") == []


def test_the_list_for_people(synthetic: RunningMesh) -> None:
    task = submit(synthetic, "a question", "--max-tokens", "2")
    synthetic.place.ok("tasks", "show", task, "--follow")
    header, first, *_ = synthetic.place.ok("tasks").splitlines()
    assert header.split()[:4] == ["TASK", "SUBMITTED", "ACCOUNT", "URGENCY"]
    assert first.split()[0] == task
    assert "\x1b" not in header + first


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("show", "nonsense"), "'nonsense' is not a task id"),
        (("show", "01a20ab9e7ef7075988869028d22be39"), "there is no task 01a20ab9e7ef7075988869028d22be39"),
        (("cancel", "01a20ab9e7ef7075988869028d22be39"), "account local has no such task"),
        (("submit", "hello", "--deadline", "soon"), "--deadline: 'soon' is not a duration"),
        (("list", "--of", "a.b"), "'a.b' is not a subject token"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_are_one_line_and_status_1(synthetic: RunningMesh, arguments: tuple[str, ...], problem: str) -> None:
    done = synthetic.place.ig3("tasks", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"ig3: {problem}")
    assert done.stderr.count("\n") == 1


def test_explain_tells_the_story(synthetic: RunningMesh) -> None:
    task = submit(synthetic, "tell me\nwhy", "--max-tokens", "6")
    synthetic.place.ok("tasks", "show", task, "--follow")
    node = next(one for one in listed(synthetic) if one["task"] == task)["node"]
    story = synthetic.place.ok("explain", task)
    pattern = rf"""
Task {task}
account local, model synthetic, .*
   \+0.000 s  submitted, standard
             1 message, 11 characters, the last: “tell me why”
             max_tokens 6
   \+.* s  assigned to {node}: attempt 1, policy .*
             → {node}  score .*
                            .*answer .*; first token after .* s, all after .* s
   \+.* s  first text \(time to first token\)
   \+.* s  wrote \d+ chunks? with 6 tokens, .* tokens/s; finish reason: length
   \+.* s  completed: \d+ prompt tokens, 6 completion tokens
             attempt 1 on {node}: \d+ characters, 6 tokens
   \+.* s  the end is told to readers: completed
"""
    assert re.fullmatch(pattern.strip(), story.strip()), story


def test_explain_tells_why_nobody_would_have_it(synthetic: RunningMesh) -> None:
    task = submit(synthetic, "hello", "--model", "no-such-model")
    wait_until(lambda: listed(synthetic, "-n", "5")[0]["state"] == "failed")
    story = synthetic.place.ok("explain", task)
    assert "failed: The model 'no-such-model' does not exist on this mesh. (model_not_found, status 404)" in story


def test_explain_last(synthetic: RunningMesh) -> None:
    task = submit(synthetic, "hello", "--max-tokens", "1")
    assert synthetic.place.ok("explain").startswith(f"Task {task}\n")
    assert synthetic.place.ok("explain", "last").startswith(f"Task {task}\n")
