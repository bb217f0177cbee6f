"""What the engines take from the machine they run on."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def compute_threads(wanted: int | None) -> int:
    """Return ``wanted``, or one less than the cores this process may use.

    A core is left to the event loop and the host: compute threads that wait actively for a preempted one collapse to
    a tenth of their speed.
    """
    return wanted or max(1, len(os.sched_getaffinity(0)) - 1)


def resident_bytes() -> int:
    """Return this process's resident memory, mapped pages of the model file included."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def available_bytes() -> int:
    """Return the memory that can be used without swapping, page cache that may be dropped included; 0 if not told."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return 0
