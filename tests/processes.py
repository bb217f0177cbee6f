"""Looking at real processes in tests: whether they run, and what they started."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_S = 90.0
"""Long enough for a busy machine; a test that passes does not wait for it."""

_POLL_S = 0.02


def is_running(pid: int) -> bool:
    """Whether the process is there; one that ended and was not collected yet does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> dict[int, str]:
    """Everything that a process started, directly or not: `ig3` commands by their name, programs by theirs."""
    found: dict[int, str] = {}
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, _read(children).split()):
            arguments = _read(Path(f"/proc/{child}/cmdline")).rstrip(b"\0").split(b"\0")
            found[child] = Path(os.fsdecode(arguments[0] if b"-c" in arguments else arguments[-1])).name
            found |= descendants(child)
    return found


def _read(path: Path) -> bytes:
    """What the kernel says of a process; nothing of one that has just ended."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def wait_until(condition: Callable[[], bool], *, pause_s: float = _POLL_S) -> None:
    """Block until the condition holds; ``pause_s`` from one look to the next, where looking costs others their time."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(pause_s)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, while the event loop runs on."""
    deadline = time.monotonic() + PATIENCE_S
    for _ in iter(condition, True):
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(_POLL_S)
