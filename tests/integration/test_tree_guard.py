"""Programs that start others: nothing of them outlives the process that wanted them, whatever they are busy with."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.processes.die_with_parent import tree_guarded
from tests.processes import PATIENCE_S, is_running, wait_until

# Like a large server that starts: deaf to SIGTERM, with one helper in a session of its own, and one that nobody is the
# parent of any more.
BUSY = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
helper = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
started = "import subprocess; print(subprocess.Popen(['/bin/sleep', '1000'], start_new_session=True, stdout=-3).pid)"
lost = int(subprocess.run([sys.executable, "-c", started], stdout=-1).stdout)
there = pathlib.Path(sys.argv[1])
there.with_suffix(".new").write_text(f"{os.getpid()} {helper.pid} {lost}")
there.with_suffix(".new").rename(there)
time.sleep(float(sys.argv[2]))
os.kill(os.getpid(), getattr(signal, sys.argv[3]))
"""
NODE = """
import subprocess, sys
from mesh.processes.die_with_parent import tree_guarded
subprocess.Popen(tree_guarded(sys.argv[1:], grace_s=0.1))
sys.stdin.read()
"""


# A guard that stands still for a minute between any two looks at the clock.
STANDS_STILL = """
import itertools, sys, time, types
from mesh.processes import die_with_parent
passed_s = itertools.count(0.0, 60.0)
die_with_parent.time = types.SimpleNamespace(monotonic=lambda: time.monotonic() + next(passed_s))
die_with_parent.main(sys.argv[1:])
"""


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    return tmp_path / "pids"


@pytest.fixture
def node(pids: Path) -> Iterator[subprocess.Popen[bytes]]:
    busy = [sys.executable, "-c", BUSY, str(pids), "1000", "SIGKILL"]
    with subprocess.Popen([sys.executable, "-c", NODE, *busy], stdin=subprocess.PIPE) as node:
        yield node
        node.kill()


def started(pids: Path) -> list[int]:
    """The numbers of all that runs, once it does."""
    wait_until(pids.exists)
    return [int(pid) for pid in pids.read_text().split()]


def test_nothing_is_left_when_the_parent_is_killed(node: subprocess.Popen[bytes], pids: Path) -> None:
    running = started(pids)
    assert all(map(is_running, running))
    node.kill()
    wait_until(lambda: not any(map(is_running, running)))


def test_one_that_is_asked_to_end_and_does_not_is_killed_with_all_that_it_started(pids: Path) -> None:
    command = [sys.executable, "-c", BUSY, str(pids), "1000", "SIGKILL"]
    with subprocess.Popen(tree_guarded(command, grace_s=0.1)) as guard:
        running = started(pids)
        guard.terminate()
        assert guard.wait(PATIENCE_S) == -signal.SIGKILL
    assert not any(map(is_running, running))


def test_when_the_program_is_gone_all_that_it_started_is_and_its_end_is_passed_on(pids: Path) -> None:
    command = [sys.executable, "-c", BUSY, str(pids), "0", "SIGABRT"]
    with subprocess.Popen(tree_guarded(command, grace_s=PATIENCE_S)) as guard:
        running = started(pids)
        assert guard.wait(PATIENCE_S) == -signal.SIGABRT
    assert not any(map(is_running, running))


def test_nothing_is_left_either_where_the_guard_stands_still_meanwhile(pids: Path) -> None:
    command = [sys.executable, "-c", BUSY, str(pids), "0", "SIGABRT"]
    guarded = [sys.executable, "-c", STANDS_STILL, str(os.getpid()), "tree", str(PATIENCE_S), *command]
    with subprocess.Popen(guarded) as guard:
        running = started(pids)
        assert guard.wait(PATIENCE_S) == -signal.SIGABRT
    wait_until(lambda: not any(map(is_running, running)))


def test_one_that_ends_when_it_is_asked_to_has_the_time_for_it() -> None:
    asked = "import signal as s, sys; s.signal(s.SIGTERM, lambda *_: sys.exit(7)); print(flush=True); s.pause()"
    command = tree_guarded([sys.executable, "-c", asked], grace_s=PATIENCE_S)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as guard:
        assert guard.stdout is not None
        guard.stdout.readline()
        guard.terminate()
        assert guard.wait(PATIENCE_S) == 7


def test_the_program_dies_with_its_guard(pids: Path) -> None:
    command = [sys.executable, "-c", BUSY, str(pids), "1000", "SIGKILL"]
    with subprocess.Popen(tree_guarded(command, grace_s=0.1)) as guard:
        program, *_ = running = started(pids)
        guard.kill()
    wait_until(lambda: not is_running(program))
    # The guard's heirs are nobody's: whoever started it kills the group, and this is what is left then.
    for pid in running[1:]:
        os.kill(pid, signal.SIGKILL)


def test_what_cannot_be_run_is_told() -> None:
    done = subprocess.run(tree_guarded(["/nowhere/vllm"], grace_s=1), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (127, "cannot run /nowhere/vllm: No such file or directory\n")
