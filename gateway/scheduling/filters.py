"""Why a seat cannot have a task at all: each filter says it in words, or None. Any of them passes over a seat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.scheduling.case import Case

if TYPE_CHECKING:
    from gateway.scheduling.wish import Kind
    from streams.devices.replica import Replica
    from streams.tasks.answer_check import CheckOf

Filter = Callable[[Case], str | None]

BUSY: Final = "all slots busy"
_SILENT: Final = "not reporting"
_LEAVING: Final = "draining"
_UNSOUND: Final = "it failed time after time, and is tried again later"

ANYBODYS: Final = frozenset({BUSY, _SILENT, _LEAVING, _UNSOUND})
"""Reasons that hold for every task alike."""


def reporting(case: Case) -> str | None:
    """It is heard, and the log does not say that it is lost."""
    return None if case.now_s <= case.seat.live_until_s else _SILENT


def staying(case: Case) -> str | None:
    """It is not about to leave."""
    return _LEAVING if case.seat.draining else None


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


def can_give(replica: Replica, dimensions: int | None) -> bool:
    """Whether a replica's vectors have so many numbers, or may be cut to them."""
    if dimensions is None or replica.dimensions == dimensions:
        return True
    return replica.shortens and replica.dimensions is not None and replica.dimensions > dimensions


def runs_alike(replica: Replica, check: CheckOf) -> bool:
    """Whether a replica may come to the very answer that is checked."""
    return (replica.engine, replica.quantisation) == (check.engine, check.quantisation)


# --- what the task needs -----------------------------------------------------------------------------------------


def fitting(case: Case) -> str | None:
    """The replica is of the kind that is asked for, and can do what is needed."""
    replica, wish = case.seat.replica, case.wish
    if replica.kind != wish.kind:
        return f"it serves {replica.kind}, not {wish.kind}"
    if not can_give(replica, wish.dimensions):
        return f"its vectors have {replica.dimensions} numbers, not {wish.dimensions}"
    if wish.needs and not wish.needs.issubset(replica.abilities):
        return f"it lacks {', '.join(sorted(wish.needs.difference(replica.abilities)))}"
    return None


def roomy(case: Case) -> str | None:
    """Prompt and answer fit, or no live replica has more room: then the engine says it better than an estimate."""
    wish, context = case.wish, case.seat.replica.context_tokens
    needed = wish.context_tokens
    if needed <= context or context >= min(needed, case.widest_context()):
        return None
    return f"its context of {context} tokens is too short"


# --- what its owner will not have otherwise ----------------------------------------------------------------------


def inside(case: Case) -> str | None:
    """It is in the region that the task must not leave."""
    region = case.wish.rules.region
    if region is None or case.seat.replica.region == region:
        return None
    return f"it is not in region {region}"


def affordable(case: Case) -> str | None:
    """It asks no more than the task may cost."""
    highest, price = case.wish.rules.highest_price_micro, case.seat.replica.price
    if highest is None or price is None or max(price.prompt_micro, price.completion_micro) <= highest:
        return None
    return "it costs too much"


def reputable(case: Case) -> str | None:
    """Its reputation is as good as asked for."""
    return None if case.regard.reputation >= case.wish.rules.lowest_reputation else "its reputation is too low"


def own(case: Case) -> str | None:
    """It belongs to the account, as DEVICES says, and answers itself: a provider behind it would be somebody else."""
    if case.wish.account == "" or case.regard.owner != case.wish.account:
        return "it is not the account's own"
    return "it asks a provider outside" if case.seat.replica.tier == "cloud" else None


def worth_the_cloud(case: Case) -> str | None:
    """What can wait (class batch) waits for the mesh's own devices, unless it is hard."""
    if case.seat.replica.tier == "cloud" and case.wish.service_class == "batch" and case.wish.level != "hard":
        return "the cloud is not for batch"
    return None


# --- how the node has fared --------------------------------------------------------------------------------------


def sound(case: Case) -> str | None:
    """It has not failed time after time, or is due for a trial."""
    breaker = case.seat.breaker
    return _UNSOUND if breaker.is_tripped and not breaker.lets_through(case.now_s) else None


MATTERS: Final[dict[Filter, Callable[[Kind], bool]]] = {
    unlike: lambda kind: kind.is_check,
    unsuspected: lambda kind: kind.is_suspect,
    inside: lambda kind: kind.has_region,
    affordable: lambda kind: kind.has_ceiling,
    reputable: lambda kind: kind.has_floor,
    worth_the_cloud: lambda kind: kind.can_wait,
}
"""Filters that pass over nobody for most wishes, and for which: others need not ask them of each seat."""
