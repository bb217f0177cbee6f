"""The examples of docs/client.md, run as their readers would run them."""

import sys
from pathlib import Path

import pytest

from tests.running_mesh import RunningMesh

pytestmark = pytest.mark.timeout(240)

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_raw_nats_drops_its_connection_and_misses_nothing(synthetic: RunningMesh) -> None:
    done = synthetic.place.run(sys.executable, EXAMPLES / "raw_nats.py", synthetic.model)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    (task,) = (line.removeprefix("task ") for line in said if line.startswith("task "))
    assert "dropping the connection" in done.stderr
    assert said[-1] == "completed"
    stored = synthetic.place.ok("tasks", "show", task).rstrip("\n")
    assert done.stdout == stored
    assert len(stored.split()) == 40


def test_the_client_asks_resumes_and_cancels(synthetic: RunningMesh) -> None:
    done = synthetic.place.run(sys.executable, EXAMPLES / "client.py", synthetic.model)
    assert (done.returncode, done.stderr) == (0, "")
    text, end, resumed, cancelled = done.stdout.splitlines()
    assert len(text.split()) == len(resumed.split()) == 40
    assert end.startswith("[length, 40 tokens, by ")
    assert cancelled == "cancelled: cancelled"


def test_the_client_without_async(smollm: RunningMesh) -> None:
    done = smollm.place.run(sys.executable, EXAMPLES / "client_sync.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] in {"[length]", "[stop]"}
    assert len(done.stdout.split()) > 10
