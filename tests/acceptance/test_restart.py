"""A mesh that was stopped: nothing runs on, nothing is lost, and the next start finds what was."""

import json
import os
import signal
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.http_gateway import Json
from tests.processes import descendants, is_running
from tests.running_mesh import RunningMesh, running_up

pytestmark = pytest.mark.timeout(240)


def members(process_group: int) -> list[str]:
    """The command lines of a process group."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) == process_group and is_running(int(process.name)):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def tasks(mesh: RunningMesh) -> list[Json]:
    return [json.loads(line) for line in mesh.place.ok("tasks", "list", "--json").splitlines()]


def get(mesh: RunningMesh, path: str) -> str:
    with urlopen(f"{mesh.url}{path}") as answer:
        return answer.read().decode()


def test_stopped_and_started_again(tmp_path: Path) -> None:
    synthetic = ("--engine", "synthetic", "--token-delay-ms", "5")
    with running_up(tmp_path, *synthetic) as mesh:
        said = mesh.place.ok("chat", "--model", "synthetic", "Hello").strip()
        (task,) = tasks(mesh)
        before = get(mesh, f"/v1/tasks/{task['task']}/events")
        family = descendants(mesh.up.pid)
        assert mesh.up.stop(signal.SIGTERM) == 0
        assert members(mesh.up.pid) == []
        assert [name for pid, name in family.items() if is_running(pid)] == []

    with running_up(tmp_path, *synthetic) as again:
        story = again.place.ok("explain", task["task"])
        assert "completed" in story
        assert get(again, f"/v1/tasks/{task['task']}/events") == before
        assert said
        assert again.place.ok("chat", "--model", "synthetic", "Hello").strip() == said
        assert len(tasks(again)) == 2
