"""Every program in examples/, as it stands, on a mesh with the real model."""

import re
import sys
from subprocess import CompletedProcess

import pytest

from tests.running_mesh import ROOT, SMALL_MODEL, RunningMesh

pytestmark = pytest.mark.timeout(240)

EXAMPLES = ROOT / "examples"


def run(mesh: RunningMesh, name: str, *arguments: str) -> CompletedProcess[str]:
    """Run an example, which must end well, in the shell of somebody whose mesh is not the one of this folder."""
    done = mesh.place.run(sys.executable, "-P", EXAMPLES / name, *arguments)
    assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def test_no_example_is_left_out() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "client.py",
        "client_sync.py",
        "raw_nats.py",
        "websocket_client.py",
    }


def test_a_nats_client_publishes_a_task_drops_and_catches_up(smollm: RunningMesh) -> None:
    done = run(smollm, "raw_nats.py")
    story = done.stderr.split("\n")
    task = story[0].removeprefix("task ")
    assert re.fullmatch("dropping the connection behind event [0-9]+", story[2])
    assert story[-2] == "completed"
    assert done.stdout.strip() == smollm.place.ok("tasks", "show", task).strip()


def test_the_websocket_client_follows_a_task_that_was_asked_over_http(smollm: RunningMesh) -> None:
    first, _, rest = run(smollm, "websocket_client.py", smollm.url, "Say hello.").stdout.partition("\n")
    text, _, last = rest.rstrip("\n").rpartition("\n")
    assert re.fullmatch(r"\[\S+ answers\]", first)
    assert last == "[completed]"
    assert text.strip() == smollm.place.ok("tasks", "show", "last").strip()


def test_the_client_asks_resumes_and_cancels(smollm: RunningMesh) -> None:
    lines = run(smollm, "client.py").stdout.splitlines()
    assert any(re.fullmatch(r"\[length, 40 tokens, by \S+\]", line) for line in lines)
    assert lines[-1] == "cancelled: cancelled"


def test_the_client_without_async(smollm: RunningMesh) -> None:
    text, _, last = run(smollm, "client_sync.py", SMALL_MODEL).stdout.rstrip("\n").rpartition("\n")
    assert last == "[length]"
    assert text.strip() == smollm.place.ok("tasks", "show", "last").strip()
