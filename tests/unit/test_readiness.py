"""The line by which a process says that it is ready."""

import os
import subprocess
import sys

import pytest

from mesh.processes.readiness import Progress, Ready, read_announcement

CODE = """
from mesh.processes.readiness import announce_progress, announce_ready
announce_progress("loading", 0.25)
announce_ready("here", url="http://x:1", models=("m",))
import os, subprocess, sys
print(os.environ.get("IG3_READY_FD"))
"""


def test_a_process_announces_on_the_descriptor_it_was_given() -> None:
    read_end, write_end = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={"IG3_READY_FD": str(write_end)},
        pass_fds=(write_end,),
        check=True,
        capture_output=True,
        text=True,
    )
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        lines = pipe.readlines()
    assert [read_announcement(line) for line in lines] == [
        Progress(step="loading", fraction=0.25),
        Ready(detail="here", url="http://x:1", models=("m",)),
    ]
    assert done.stdout == "None\n", "the variable must not reach processes that this one starts"


@pytest.mark.parametrize("descriptor", ["", "999", "x", "-1"])
def test_without_a_usable_descriptor_nothing_happens(descriptor: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={"IG3_READY_FD": descriptor}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_listener_that_went_away_is_no_problem() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={"IG3_READY_FD": str(write_end)}, pass_fds=(write_end,), capture_output=True
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("line", [b"", b"{}\n", b"hello\n", b'{"type":"other"}\n', b"\xff\n"])
def test_other_lines_are_passed_over(line: bytes) -> None:
    assert read_announcement(line) is None
