"""Whether a broker's store has room for new tasks: a pure function of what was measured."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

MIB: Final = 1024 * 1024
_LARGEST_RESERVE: Final = 256 * MIB
_SMALLEST_DISK_RESERVE: Final = 8 * MIB
_RESERVE_PART: Final = 20
"""One part in so many is kept free of new tasks, so that those which run can end."""


class StoreLimits(Struct, frozen=True, kw_only=True):
    """Most that the streams of each account may take on the disk, in bytes."""

    edge_bytes: int
    core_bytes: int

    @property
    def disk_reserve_bytes(self) -> int:
        """How much of the disk is left to tasks that run: 5 % of the store, but 8 MiB at least and 256 at most."""
        return max(_reserve(self.edge_bytes + self.core_bytes), _SMALLEST_DISK_RESERVE)


class Measured(Struct, frozen=True, kw_only=True):
    """What was found at one look. ``fault`` is why the server cannot write, None if it can."""

    disk_free_bytes: int
    edge_bytes: int
    core_bytes: int
    fault: str | None = None


def shortage(limits: StoreLimits, found: Measured, *, was_short: bool) -> str | None:
    """Return why no new tasks are taken, or None if they are.

    Once it was short there must be half a reserve more, so that the answer does not change with every task.
    """
    if found.fault is not None:
        return f"its store takes nothing: {found.fault}"
    if found.disk_free_bytes < _wanted(limits.disk_reserve_bytes, was_short=was_short):
        return f"its disk has only {found.disk_free_bytes // MIB} MiB left"
    accounts = (("answers", limits.edge_bytes, found.edge_bytes), ("ends", limits.core_bytes, found.core_bytes))
    for what, limit, held in accounts:
        if limit - held < _wanted(_reserve(limit), was_short=was_short):
            return f"its store of {what} holds {held // MIB} of {limit // MIB} MiB (store_limit)"
    return None


def may_start_again(limits: StoreLimits, found: Measured) -> bool:
    """Whether a server that cannot write would probably write if it were started again."""
    return found.disk_free_bytes >= limits.disk_reserve_bytes // 2


def _reserve(limit: int) -> int:
    return min(limit // _RESERVE_PART, _LARGEST_RESERVE)


def _wanted(reserve: int, *, was_short: bool) -> int:
    return reserve * 3 // 2 if was_short else reserve
