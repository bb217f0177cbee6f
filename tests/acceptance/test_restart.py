"""A mesh that was stopped: nothing runs on, nothing is lost, and the next start finds what was."""

import json
import os
import signal
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.http_gateway import Json
from tests.processes import PATIENCE_S, descendants, is_running
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


def ask(mesh: RunningMesh, tokens: int) -> HTTPResponse:
    """Ask for a stream; it is still to be read."""
    body = {
        "model": mesh.model,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": tokens,
        "stream": True,
    }
    headers = {"content-type": "application/json"}
    return urlopen(Request(f"{mesh.url}/v1/chat/completions", json.dumps(body).encode(), headers), timeout=PATIENCE_S)


def events_of(mesh: RunningMesh, task: str) -> list[Json]:
    """All events of a task, to its end."""
    lines = get(mesh, f"/v1/tasks/{task}/events").splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def get(mesh: RunningMesh, path: str) -> str:
    with urlopen(f"{mesh.url}{path}", timeout=PATIENCE_S) as answer:
        return answer.read().decode()


def kill_everything(mesh: RunningMesh) -> None:
    os.killpg(mesh.up.pid, signal.SIGKILL)
    mesh.up.process.wait()


def stop_in_order(mesh: RunningMesh) -> None:
    family = descendants(mesh.up.pid)
    assert mesh.up.stop(signal.SIGTERM) == 0
    assert members(mesh.up.pid) == []
    assert [name for pid, name in family.items() if is_running(pid)] == []


@pytest.mark.parametrize("end", [kill_everything, stop_in_order])
def test_the_next_start_finds_the_old_tasks_and_goes_on_with_those_that_ran(
    tmp_path: Path, end: Callable[[RunningMesh], None]
) -> None:
    settings = ("--engine", "synthetic", "--token-delay-ms", "50")
    hasty = {"IG3_DRAIN": "0s", "IG3_HTTP_STOP_TIMEOUT": "0s"}
    with running_up(tmp_path, *settings, variables=hasty) as mesh:
        said = mesh.place.ok("chat", "--max-tokens", "40", "Hello").strip()
        (old,) = tasks(mesh)
        before = get(mesh, f"/v1/tasks/{old['task']}/events")
        answers = [ask(mesh, tokens=40) for _ in range(3)]
        seen = [b"".join(answer.readline() for _ in range(20)) for answer in answers]
        assert all(b'"content":' in lines for lines in seen)
        end(mesh)
        for answer in answers:
            answer.close()

    with running_up(tmp_path, *settings) as again:
        assert "completed" in again.place.ok("explain", old["task"])
        assert get(again, f"/v1/tasks/{old['task']}/events") == before
        for answer in answers:
            task = answer.headers["x-ig3-task"]
            events = events_of(again, task)
            assert [event["n"] for event in events] == list(range(1, len(events) + 1))
            assert "".join(event.get("text", "") for event in events).strip() == said
            assert (events[-1]["type"], events[-1]["outcome"]) == ("task.ended.v1", "completed")
            assert json.loads(get(again, f"/v1/tasks/{task}"))["usage"]["completion_tokens"] == 40
        assert len(tasks(again)) == 4
