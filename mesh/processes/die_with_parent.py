"""Run a program that cannot outlive its parent, and that a Ctrl-C in the terminal does not reach.

Run as a script (``python -I -S die_with_parent.py PARENT_PID GROUP COMMAND [ARGUMENT...]``), it replaces itself by the
command, so nothing of it stays in memory. It needs only the standard library and no installed package.

Linux sends SIGTERM to the command when its parent dies, however the parent dies: also by ``kill -9``, which no handler
of the parent could see. A Ctrl-C goes to the whole process group of a terminal; the parent alone decides in which order
its children stop, so they ignore it. ``GROUP`` is ``shared``, or ``own`` for programs that set handlers of their own
whatever they inherit (nats-server does): a process group of their own keeps the terminal's signals away.

Elsewhere than on Linux the command runs without the protection.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Final, Literal

Group = Literal["shared", "own"]

_PR_SET_PDEATHSIG: Final = 1


def guarded(command: list[str], *, group: Group = "shared") -> list[str]:
    """Return the command line that runs ``command`` as a child that dies with this process."""
    return [sys.executable, "-I", "-S", str(Path(__file__)), str(os.getpid()), group, *command]


def main(arguments: list[str]) -> None:
    """Bind this process to its parent and become the command."""
    parent, group, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            # The parent died before the kernel knew that we want to hear of it.
            sys.exit(1)
    for terminal_signal in (signal.SIGINT, signal.SIGHUP):
        signal.signal(terminal_signal, signal.SIG_IGN)
    if group == "own":
        os.setpgid(0, 0)
    os.execv(command[0], command)  # noqa: S606 - becoming another program without a shell is this file's purpose


if __name__ == "__main__":
    main(sys.argv[1:])
