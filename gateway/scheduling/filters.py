"""Why a seat cannot have a task at all: each filter says it in words, or None. Any of them passes over a seat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.scheduling.case import Case

if TYPE_CHECKING:
    from streams.events import CheckOf
    from streams.replica import Replica

Filter = Callable[[Case], str | None]

BUSY = "all slots busy"


def reporting(case: Case) -> str | None:
    """It is heard, and the log does not say that it is lost."""
    return None if case.now_s <= case.seat.live_until_s else "not reporting"


def staying(case: Case) -> str | None:
    """It is not about to leave."""
    return "draining" if case.seat.draining else None


def free(case: Case) -> str | None:
    """A slot is free."""
    return None if case.seat.in_use < case.seat.slots else BUSY


def unlike(case: Case) -> str | None:
    """A check is written by another node than what it checks, with the same engine."""
    check = case.wish.check
    if check is None:
        return None
    if case.seat.node in {check.node, check.other}:
        return "it wrote what is checked"
    return None if runs_alike(case.seat.replica, check) else "it runs another engine or quantisation"


def regarded(case: Case) -> str | None:
    """Nothing is known that speaks against it whatever the task."""
    return case.regard.objection


def unsuspected(case: Case) -> str | None:
    """Two tasks that may be what kills their nodes never share one."""
    if case.wish.is_suspect and case.seat.node in case.suspected:
        return "another task that lost its nodes runs there"
    return None


def runs_alike(replica: Replica, check: CheckOf) -> bool:
    """Whether a replica may come to the very answer that is checked."""
    return (replica.engine, replica.quantisation) == (check.engine, check.quantisation)
