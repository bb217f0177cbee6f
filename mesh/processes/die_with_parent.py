"""Run a program that cannot outlive its parent, and that a Ctrl-C in the terminal does not reach.

Run as a script (``python -I -S die_with_parent.py PARENT_PID GROUP COMMAND [ARGUMENT...]``), it replaces itself by the
command, so nothing of it stays in memory. It needs only the standard library and no installed package.

Linux sends SIGTERM to the command when its parent dies, however the parent dies: also by ``kill -9``, which no handler
of the parent could see. A Ctrl-C goes to the whole process group of a terminal; the parent alone decides in which order
its children stop, so they ignore it. ``GROUP`` is ``shared``, or ``own`` for programs that set handlers of their own
whatever they inherit (nats-server does): a process group of their own keeps the terminal's signals away.

For programs that start others, and may not heed a SIGTERM while they do, there is ``tree GRACE_S`` in the place of
``own``: this script stays, as the parent of the command and the heir of everything that the command starts, whichever
session or group that is in. A SIGTERM, ours or that of Linux, goes on to the command; ``GRACE_S`` later, or as soon as
the command has ended, all that is left is killed. Then this ends as the command did.

Elsewhere than on Linux the command runs without the protection.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

Group = Literal["shared", "own"]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36

_LAST_S: Final = 5.0
"""How long what was killed may take to die; a process that waits for a disk or a driver cannot be waited for."""
_CANNOT_RUN: Final = 127
_TREE: Final = "tree"


def guarded(command: list[str], *, group: Group = "shared") -> list[str]:
    """Return the command line that runs ``command`` as a child that dies with this process."""
    return [*_this_script(), group, *command]


def tree_guarded(command: list[str], *, grace_s: float) -> list[str]:
    """Return the command line of a child, with a group of its own, that runs ``command``.

    With this process, on SIGTERM, or when the command ends, all that the command has started dies, ``grace_s`` after
    it was asked to at the latest.
    """
    if sys.platform != "linux":
        return guarded(command, group="own")
    return [*_this_script(), _TREE, str(grace_s), *command]


def _this_script() -> list[str]:
    return [sys.executable, "-I", "-S", str(Path(__file__)), str(os.getpid())]


def main(arguments: list[str]) -> None:
    """Bind this process to its parent and become the command, or its guard."""
    parent, group, *command = arguments
    if group == _TREE:
        # Before anything can arrive: from now on a signal waits until it is asked for.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    if sys.platform == "linux":
        _die_with(int(parent), signal.SIGTERM)
    for terminal_signal in (signal.SIGINT, signal.SIGHUP):
        signal.signal(terminal_signal, signal.SIG_IGN)
    if group != "shared":
        os.setpgid(0, 0)
    if group == _TREE:
        grace_s, *command = command
        _end_as(_Tree(command).guard(float(grace_s)))
    os.execv(command[0], command)  # noqa: S606 - becoming another program without a shell is this file's purpose


def _die_with(parent: int, by: signal.Signals) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        # The parent died before the kernel knew that we want to hear of it.
        sys.exit(1)


# --- the guard of a tree ---

_HEARD: Final = {signal.SIGTERM, signal.SIGCHLD}


class _Tree:
    """A running command, and all that it starts."""

    def __init__(self, command: list[str]) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        guard = os.getpid()
        self._status: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            _become(command, guard)

    def guard(self, grace_s: float) -> int:
        """Return the command's wait status when nothing is left of the tree."""
        is_asked, kill_at = False, None
        while self._status is None:
            heard = _hear(kill_at)
            if heard == signal.SIGTERM and not is_asked:
                is_asked, kill_at = True, time.monotonic() + grace_s
                os.kill(self._pid, signal.SIGTERM)
            elif heard is None:
                kill_at = None
                os.kill(self._pid, signal.SIGKILL)
            self._collect()
        self._kill_the_rest()
        return self._status

    def _kill_the_rest(self) -> None:
        """Kill what has no parent but us, until there is no more: whose parent dies becomes a child of ours."""
        killed: set[int] = set()
        give_up_at = 0.0
        while self._collect():
            left = set(_children())
            if left <= killed and time.monotonic() >= give_up_at:
                return
            if not left <= killed:
                # From here on: whatever stood still before, each of them was killed.
                give_up_at = time.monotonic() + _LAST_S
            for child in left:
                with contextlib.suppress(PermissionError):
                    os.kill(child, signal.SIGKILL)
            killed |= left
            _hear(give_up_at)

    def _collect(self) -> bool:
        """Take note of who has ended; returns whether anybody is left."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._pid:
                    self._status = ended[1]
            return True
        return False


def _become(command: list[str], guard: int) -> NoReturn:
    _die_with(guard, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
    try:
        os.execv(command[0], command)  # noqa: S606 - as above
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(_CANNOT_RUN)


def _hear(until_s: float | None) -> int | None:
    """Wait for a signal; None if none comes before that moment."""
    if until_s is None:
        return signal.sigwait(_HEARD)
    heard = signal.sigtimedwait(_HEARD, max(0.0, until_s - time.monotonic()))
    return None if heard is None else heard.si_signo


def _children() -> Iterator[int]:
    """List our children. Their numbers are not given to others before we have collected them."""
    us = os.getpid()
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                after_name = Path(entry.path, "stat").read_text().rpartition(") ")[2]
                if int(after_name.split()[1]) == us:
                    yield int(entry.name)


def _end_as(status: int) -> NoReturn:
    """End like the one whose wait status this is."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        sys.exit(code)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
    os.kill(os.getpid(), -code)
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
