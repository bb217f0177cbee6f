"""The supervisor: order, restarts, readiness, and no process left behind, with real processes."""

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.errors import ChildFailed
from mesh.processes.child import ChildChange, ChildSpec
from mesh.processes.supervisor import Supervisor
from tests.processes import PATIENCE_S, is_running, until

# Says what it is busy with, then that it is ready, and lives until SIGTERM; each line of its log says what happened.
SERVICE = """
import os, signal, sys, time
from mesh.processes.readiness import announce_progress, announce_ready
announce_progress("warming up", 0.5)
print("started", os.environ.get("IG3_NATS"), os.environ.get("SHARED"), os.getpgid(0), flush=True)
signal.signal(signal.SIGTERM, lambda *_: (print("stopped", time.monotonic(), flush=True), sys.exit()))
announce_ready("serving", url=sys.argv[1])
while True:
    signal.pause()
"""
STUBBORN = """
import signal
from mesh.processes.readiness import announce_ready
signal.signal(signal.SIGTERM, signal.SIG_IGN)
announce_ready("for ever")
while True:
    signal.pause()
"""
BROKEN = "import sys; print('the reason', file=sys.stderr); sys.exit(3)"


class Recorder:
    """Keeps what the supervisor told."""

    def __init__(self) -> None:
        self.changes: list[ChildChange] = []

    def __call__(self, change: ChildChange) -> None:
        self.changes.append(change)

    def states(self, name: str) -> list[str]:
        return [change.state for change in self.changes if change.name == name]

    def order(self, state: str) -> list[str]:
        return [change.name for change in self.changes if change.state == state]


@pytest.fixture
def told() -> Recorder:
    return Recorder()


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., ChildSpec]:
    def make(name: str, code: str = SERVICE, url: str = "", **rest: object) -> ChildSpec:
        command = (sys.executable, "-c", code, url)
        return ChildSpec(name=name, command=command, log_path=tmp_path / f"{name}.log", **rest)  # pyright: ignore[reportArgumentType]  # given by name

    return make


Make = Callable[..., ChildSpec]


@pytest.fixture
async def three(spec: Make, told: Recorder) -> AsyncIterator[Supervisor]:
    stages = ((spec("first", url="nats://127.0.0.1:4711", pinned="IG3_NATS"),), (spec("second"),), (spec("third"),))
    supervisor = Supervisor(stages, environment={"SHARED": "yes"}, on_change=told)
    await supervisor.start()
    yield supervisor
    await supervisor.stop()


async def test_the_first_stage_is_ready_before_the_others_start(three: Supervisor, told: Recorder) -> None:
    first_ready = next(at for at, change in enumerate(told.changes) if change.state == "ready")
    assert {change.name for change in told.changes[: first_ready + 1]} == {"first"}
    assert sorted(told.order("ready")) == ["first", "second", "third"]


async def test_progress_is_passed_on(three: Supervisor, told: Recorder) -> None:
    warming = [change for change in told.changes if change.text == "warming up"]
    assert {(change.state, change.fraction) for change in warming} == {("starting", 0.5)}


async def test_the_announced_address_and_the_shared_variables_reach_the_others(
    three: Supervisor, tmp_path: Path
) -> None:
    assert "started None yes" in (tmp_path / "first.log").read_text()
    assert "started 127.0.0.1:4711 yes" in (tmp_path / "third.log").read_text()


async def test_all_are_in_the_process_group_of_the_supervisor(three: Supervisor) -> None:
    assert {os.getpgid(pid) for pid in three.pids.values()} == {os.getpgid(0)}


async def test_a_process_that_dies_is_started_again_with_the_address_it_had(
    three: Supervisor, told: Recorder, tmp_path: Path
) -> None:
    dead = three.pids["first"]
    os.kill(dead, signal.SIGKILL)
    await until(lambda: told.states("first").count("ready") == 2)
    assert three.pids["first"] != dead
    assert "ended by SIGKILL; again in 0.1 s" in {change.text for change in told.changes}
    assert "started 127.0.0.1:4711" in (tmp_path / "first.log").read_text()


async def test_each_death_waits_longer_for_the_next_start(
    spec: Make, told: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What took half a minute to come up was not steady: this machine stood still.
    monkeypatch.setattr("mesh.processes.backoff.STEADY", timedelta(hours=1))
    supervisor = Supervisor(((spec("mayfly"),),), environment={}, on_change=told)
    await supervisor.start()
    for deaths in (1, 2, 3):
        await until(lambda deaths=deaths: told.states("mayfly").count("ready") == deaths)
        os.kill(supervisor.pids["mayfly"], signal.SIGKILL)
    await until(lambda: told.states("mayfly").count("restarting") == 3)
    await supervisor.stop()
    waits = [change.text.rpartition("again in ")[2] for change in told.changes if change.state == "restarting"]
    assert waits == ["0.1 s", "0.2 s", "0.4 s"]


async def test_stages_stop_in_reverse_order(three: Supervisor, told: Recorder) -> None:
    pids = three.pids
    await three.stop()
    assert told.order("stopped") == ["third", "second", "first"]
    assert told.order("stopping") == ["third", "second", "first"]
    assert not any(is_running(pid) for pid in pids.values())


async def test_what_ends_before_it_is_ready_fails_the_start_with_its_last_words(
    spec: Make, told: Recorder, tmp_path: Path
) -> None:
    supervisor = Supervisor(((spec("good"),), (spec("bad", BROKEN),)), environment={}, on_change=told)
    with pytest.raises(ChildFailed, match=rf"bad did not start: the reason \(exit 3; log: {tmp_path}/bad.log\)"):
        await supervisor.start()
    await supervisor.stop()
    assert supervisor.pids == {}


async def test_a_program_that_does_not_exist_fails_the_start(told: Recorder, tmp_path: Path) -> None:
    nothing = ChildSpec(name="nothing", command=("/nowhere/at/all",), log_path=tmp_path / "log")
    supervisor = Supervisor(((nothing,),), environment={}, on_change=told)
    with pytest.raises(ChildFailed, match="nothing did not start"):
        await supervisor.start()
    await supervisor.stop()


async def test_what_does_not_stop_is_killed_after_its_grace(spec: Make, told: Recorder) -> None:
    stubborn = spec("stubborn", STUBBORN, grace=timedelta(milliseconds=300))
    supervisor = Supervisor(((stubborn,),), environment={}, on_change=told)
    await supervisor.start()
    pid = supervisor.pids["stubborn"]
    await supervisor.stop()
    assert not is_running(pid)
    assert any("killed" in change.text for change in told.changes)


async def test_kill_ends_a_stop_that_takes_too_long(spec: Make, told: Recorder) -> None:
    supervisor = Supervisor(((spec("stubborn", STUBBORN, grace=timedelta(hours=1)),),), environment={}, on_change=told)
    await supervisor.start()
    stopping = asyncio.create_task(supervisor.stop())
    await until(lambda: "stopping" in told.states("stubborn"))
    supervisor.kill()
    async with asyncio.timeout(PATIENCE_S):
        await stopping
    assert supervisor.pids == {}


async def test_a_ctrl_c_in_the_terminal_does_not_reach_the_processes(three: Supervisor, told: Recorder) -> None:
    for pid in three.pids.values():
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGHUP)
    await three.stop()
    assert told.order("restarting") == []


async def test_an_inherited_lock_is_held_until_the_last_process_is_gone(
    spec: Make, told: Recorder, tmp_path: Path
) -> None:
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    supervisor = Supervisor(((spec("heir"),),), environment={}, on_change=told, inherited=(descriptor,))
    await supervisor.start()
    os.close(descriptor)
    rival = os.open(tmp_path / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(rival, fcntl.LOCK_EX | fcntl.LOCK_NB)
    await supervisor.stop()
    fcntl.flock(rival, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(rival)


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from mesh.processes.child import ChildSpec
from mesh.processes.supervisor import Supervisor

async def main():
    folder, code = sys.argv[1:]
    specs = [ChildSpec(name=n, command=(sys.executable, "-c", code, ""), log_path=Path(folder) / n) for n in "abc"]
    supervisor = Supervisor((specs,), environment={}, on_change=lambda change: None)
    await supervisor.start()
    print(*supervisor.pids.values(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_no_process_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISOR, str(tmp_path), SERVICE, stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    pids = [int(pid) for pid in (await supervisor.stdout.readline()).split()]
    assert len(pids) == 3
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: not any(is_running(pid) for pid in pids))
    assert "stopped" in (tmp_path / "a").read_text()
