"""The letters of dead tasks compared with their ends: each dead end is kept, and nothing is kept that has not died.

ENDED is read before DEAD, and a dispatcher writes the end, then the letter, then the marker (ADR 12). So an end without
a letter is wrong only where readers were told of it; a letter without an end is looked at once more before it is named.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.history.stream_facts import stream_facts
from mesh.inspection.dead_letters import letters
from mesh.inspection.findings import Comparison, Difference
from mesh.inspection.task_records import ended
from streams.errors import UndecodableEvent
from streams.events import TaskDead
from streams.topology import DEAD, ENDED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mesh.bus.service_bus import Bus
    from mesh.history.stream_facts import StreamFacts
    from mesh.inspection.dead_letters import DeadLetter
    from streams.subjects import TaskKey

_DEAD: Final = "dead letters"


class DeadEnd(NamedTuple):
    """A terminal event that says that a task is dead."""

    event: TaskDead
    is_told: bool
    """Whether its marker stands, or has expired: then the letter was written before."""


class DeadFindings(NamedTuple):
    """What came of it."""

    comparison: Comparison
    differences: list[Difference]


async def verify_dead(bus: Bus, ends: Mapping[TaskKey, DeadEnd]) -> DeadFindings:
    """Compare DEAD with the dead among the ends.

    Args:
        bus: a bus of a service.
        ends: all dead ends of ENDED, read before this.

    Raises:
        BusError: if a stream cannot be read.
    """
    begun = time.monotonic()
    kept = {letter.key: letter for letter in await letters(bus)}
    facts = await stream_facts(bus.core, ENDED)
    differences = [
        _difference(key, "it is dead, readers were told, and DEAD does not keep it") for key in _lost(ends, kept)
    ]
    expired = 0
    for key, letter in kept.items():
        event = ends[key].event if key in ends else await _late_end(bus, key)
        if event is None and _is_expired(letter, facts):
            expired += 1
        elif (wrong := _wrong(letter, event)) is not None:
            differences.append(_difference(key, wrong))
    comparison = Comparison(
        projection=_DEAD,
        compared_with=DEAD,
        events=len(ends) + len(kept),
        compared=len(kept) - expired,
        different=len(differences),
        took_s=time.monotonic() - begun,
        note=f"{expired} too old to compare" if expired else "",
    )
    return DeadFindings(comparison, differences)


def _lost(ends: Mapping[TaskKey, DeadEnd], kept: Mapping[TaskKey, DeadLetter]) -> list[TaskKey]:
    return [key for key, end in ends.items() if end.is_told and key not in kept]


async def _late_end(bus: Bus, key: TaskKey) -> TaskDead | None:
    """The end of a task that may have died while ENDED was read."""
    try:
        found = await ended(bus, key)
    except UndecodableEvent:
        return None
    return found.event if found is not None and isinstance(found.event, TaskDead) else None


def _is_expired(letter: DeadLetter, facts: StreamFacts) -> bool:
    """Whether its end, written a moment before it, may be gone by its age."""
    return facts.last_sequence > 0 and (facts.first_at is None or letter.died_at <= facts.first_at)


def _wrong(letter: DeadLetter, event: TaskDead | None) -> str | None:
    if event is None:
        return "DEAD keeps it, and ENDED does not say that it is dead"
    if (letter.kept.model, letter.kept.error) != (event.model, event.error):
        return "DEAD gives another model or error than ENDED"
    return None


def _difference(key: TaskKey, detail: str) -> Difference:
    return Difference(projection=_DEAD, where=f"{key.account}/{key.task}", detail=detail)
