"""Run a command while each of its processes is frozen for moments at random, as a busy machine freezes them.

``python -m tests.stalls -- pytest tests/integration/worker -n 4``: a test that holds only on a quick machine fails here
within minutes, on a quiet one. What it starts is frozen too: brokers, nodes, gateways.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LOOK_EVERY_S = 0.15
STEP_S = 0.005
_STOP_BIT = 1 << (signal.SIGSTOP - 1)
FROZEN_NAMES = ("python", "ig3", "nats-server", "pytest", "valkey", "node", "uv")


class Process(NamedTuple):
    """A process that runs."""

    pid: int
    parent: int
    name: str


class Stalls:
    """Which processes are frozen, and until when; and when the others will be."""

    def __init__(self, seed: int, every_s: float, longest_s: float) -> None:
        self._random = random.Random(seed)
        self._every_s, self._longest_s = every_s, longest_s
        self._next: dict[int, float] = {}
        self._frozen: dict[int, float] = {}

    def know(self, pids: set[int], now: float) -> None:
        """Take up those that are new; forget those that are gone."""
        for pid in self._next.keys() - pids:
            del self._next[pid]
        for pid in pids - self._next.keys() - self._frozen.keys():
            self._next[pid] = now + self._pause()

    def step(self, now: float) -> None:
        """Freeze and thaw what is due."""
        for pid in [pid for pid, until in self._frozen.items() if now >= until]:
            self._thaw(pid)
            self._next[pid] = now + self._pause()
        for pid in [pid for pid, begins in self._next.items() if now >= begins]:
            del self._next[pid]
            # One that its test has frozen is the test's to thaw.
            if _status(pid).get("State", "").startswith("T"):
                self._next[pid] = now + self._pause()
            elif _signal(pid, signal.SIGSTOP):
                # Many short ones, few long.
                self._frozen[pid] = now + self._longest_s * self._random.random() ** 2

    def thaw_all(self) -> None:
        """Let all of them go on."""
        for pid in list(self._frozen):
            self._thaw(pid)

    def _thaw(self, pid: int) -> None:
        del self._frozen[pid]
        # A stop that waits behind the one that holds is of its test, and SIGCONT would take it back as well. Where none
        # holds yet, the one that waits is ours.
        status = _status(pid)
        if not (status.get("State", "").startswith("T") and int(status.get("ShdPnd", "0"), 16) & _STOP_BIT):
            _signal(pid, signal.SIGCONT)

    def _pause(self) -> float:
        return self._random.expovariate(1 / self._every_s)


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def _status(pid: int) -> dict[str, str]:
    """What the kernel says of a process at one moment; nothing of one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {name: text.strip() for name, _, text in (line.partition(":") for line in lines)}


def _running() -> Iterator[Process]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text(errors="replace")
            except OSError:
                continue
            name, rest = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :]
            yield Process(int(folder.name), int(rest.split()[1]), name)


def _started_by(root: int) -> set[int]:
    children: dict[int, list[Process]] = {}
    for process in _running():
        children.setdefault(process.parent, []).append(process)
    found: set[int] = set()
    todo = [root]
    while todo:
        for process in children.get(todo.pop(), ()):
            todo.append(process.pid)
            if process.name.startswith(FROZEN_NAMES):
                found.add(process.pid)
    return found


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--every-s", type=float, default=0.5, help="how long a process runs between two stalls, on average"
    )
    parser.add_argument("--longest-s", type=float, default=2.0, help="the longest stall; most are far shorter")
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def main() -> int:
    """Run the command; returns its exit status."""
    given = _parsed()
    stalls = Stalls(given.seed, given.every_s, given.longest_s)
    # One that is asked to end leaves nobody frozen.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with subprocess.Popen(given.command) as running:
        looked = 0.0
        try:
            while running.poll() is None:
                now = time.monotonic()
                if now - looked > LOOK_EVERY_S:
                    stalls.know(_started_by(running.pid), now)
                    looked = now
                stalls.step(now)
                time.sleep(STEP_S)
        finally:
            stalls.thaw_all()
    return running.returncode


if __name__ == "__main__":
    sys.exit(main())
