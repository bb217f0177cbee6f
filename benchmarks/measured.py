"""What a process has cost so far, as the kernel accounts it."""

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_USER_TIME = 13
_SYSTEM_TIME = 14


class Cost(NamedTuple):
    """CPU seconds (user and system) and resident bytes."""

    cpu_s: float
    resident_bytes: int


def cost_of(pids: list[int]) -> Cost:
    """Add up what the processes have cost."""
    return Cost(sum(_cpu_s(pid) for pid in pids), sum(resident_bytes(pid) for pid in pids))


def resident_bytes(pid: int) -> int:
    """Memory that the process has in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def children_of(pid: int) -> list[int]:
    """Direct children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu_s(pid: int) -> float:
    # The name in the second field may hold spaces, so fields are counted after its closing bracket.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER_TIME - 2]) + int(fields[_SYSTEM_TIME - 2])) / _TICKS_PER_S
