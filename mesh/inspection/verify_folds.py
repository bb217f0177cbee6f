"""Folds of whole logs, made anew and compared with what services and snapshots say: roster, devices, and so on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.access.log import AccessLog
from mesh.history.group_log import GroupsProjection
from mesh.history.ordered import OrderedReader, Start
from mesh.history.roster_log import RosterDevices, RosterModels
from mesh.history.snapshots import Source
from mesh.history.stream_facts import stream_facts
from mesh.history.work_log import WorkLog
from mesh.identity.device_log import DevicesProjection
from mesh.inspection.findings import Comparison, Difference
from streams.access.fold import Access
from streams.devices.fold import Devices
from streams.devices.reputation import WorkDone
from streams.devices.roster import Roster
from streams.digest import digest_of
from streams.groups.fold import Groups
from streams.topology import ACCESS, DEVICES, ENDED, GROUPS, MODELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mesh.bus.link import Link
    from mesh.history.checkpoint import Projection
    from mesh.history.snapshots import Snapshot, SnapshotStore
    from mesh.history.stream_facts import StreamFacts
    from streams.messages import Projections

_WAIT_S: Final = 5.0
_FOLDS: Final[tuple[tuple[str, Callable[[], Projection]], ...]] = (
    (MODELS, lambda: RosterModels(Roster())),
    (DEVICES, lambda: RosterDevices(Roster())),
    (DEVICES, lambda: DevicesProjection(Devices())),
    (ACCESS, lambda: AccessLog(Access())),
    (GROUPS, lambda: GroupsProjection(Groups())),
    (ENDED, lambda: WorkLog(WorkDone())),
)
"""Each stream, and what is folded of it."""
_EXPIRE: Final = frozenset({ENDED})
"""The others are kept for ever: what is missing there is a difference."""


class _Claim(NamedTuple):
    """What somebody says that the log adds up to at a sequence."""

    who: str
    sequence: int
    digest: str


class _Folded(NamedTuple):
    """A log read through: the digest at each sequence that was asked for, and behind the last event."""

    digests: dict[int, str]
    end: int
    events: int
    took_s: float


async def verify_folds(
    core: Link, answers: Iterable[Projections], snapshots: SnapshotStore
) -> tuple[list[Comparison], list[Difference]]:
    """Compare what every service has folded of each log, and every snapshot that is usable.

    Of one that expires, nothing is compared once something has: whoever has read that knows more than the log.

    Raises:
        BusError: if the logs cannot be read.
    """
    # A service answers in as many messages as it takes, each with the same digests.
    claims = {(answer.service, name): claim for answer in answers for name, claim in _claims(answer)}
    comparisons: list[Comparison] = []
    differences: list[Difference] = []
    for stream, new in _FOLDS:
        of_fold = [claim for (_, name), claim in claims.items() if name == new().name]
        comparison, found = await _verify(core, stream, new, of_fold, snapshots)
        comparisons.append(comparison)
        differences += found
    return comparisons, differences


def _claims(answer: Projections) -> Iterator[tuple[str, _Claim]]:
    """What a service says of each fold, by the fold's name."""
    if answer.roster is not None:
        roster = answer.roster
        yield RosterModels.name, _Claim(answer.service, roster.models_sequence, roster.models)
        yield RosterDevices.name, _Claim(answer.service, roster.devices_sequence, roster.devices)
    for fold in answer.folds:
        yield fold.projection, _Claim(answer.service, fold.sequence, fold.state)


async def _verify(
    core: Link, stream: str, new: Callable[[], Projection], claims: list[_Claim], snapshots: SnapshotStore
) -> tuple[Comparison, list[Difference]]:
    name = new().name
    facts = await stream_facts(core, stream)
    if stream in _EXPIRE and facts.messages < facts.last_sequence:
        return _not_compared(name, stream), []
    kept = list(snapshots.candidates(_source(facts, new())))
    shortcut = await _from_snapshot(core, stream, new(), kept[0]) if kept else None
    claims = [*claims, *(_claim_of(snapshot) for snapshot in kept)]
    if shortcut is not None:
        claims.append(_Claim("the newest snapshot and the rest", shortcut.end, shortcut.digests[shortcut.end]))
    full = await _fold(core, stream, new(), {claim.sequence for claim in claims})
    differences = [
        Difference(
            projection=name,
            where=claim.who,
            detail=f"at sequence {claim.sequence} of {stream} the log adds up to something else",
        )
        for claim in claims
        if full.digests[claim.sequence] != claim.digest
    ]
    return _comparison(name, full, shortcut, kept, claims, differences), differences


def _comparison(
    name: str,
    full: _Folded,
    shortcut: _Folded | None,
    kept: list[Snapshot],
    claims: list[_Claim],
    differences: list[Difference],
) -> Comparison:
    note = "no snapshot yet"
    if shortcut is not None:
        note = f"from the snapshot at {kept[0].sequence} on: {shortcut.events:,} events in {shortcut.took_s:.2f} s"
    services = len(claims) - len(kept) - (shortcut is not None)
    return Comparison(
        projection=name,
        compared_with=f"{services} services, {len(kept)} snapshots",
        events=full.events,
        compared=len(claims),
        different=len(differences),
        took_s=full.took_s,
        note=note,
    )


def _not_compared(name: str, stream: str) -> Comparison:
    note = f"the first events of {stream} have expired, and who has read them knows more than it"
    return Comparison(
        projection=name, compared_with="nothing", events=0, compared=0, different=0, took_s=0.0, note=note
    )


def _source(facts: StreamFacts, blank: Projection) -> Source:
    return Source(projection=blank.name, version=blank.version, stream=facts.name, stream_created=facts.created)


def _claim_of(snapshot: Snapshot) -> _Claim:
    return _Claim(f"the snapshot at {snapshot.sequence}", snapshot.sequence, digest_of(snapshot.state))


async def _from_snapshot(core: Link, stream: str, projection: Projection, snapshot: Snapshot) -> _Folded:
    projection.load(snapshot.state)
    return await _fold(core, stream, projection, set(), after=snapshot.sequence)


async def _fold(core: Link, stream: str, projection: Projection, wanted: set[int], *, after: int = 0) -> _Folded:
    """Fold a log from behind ``after`` to its end, and take the digest wherever it is wanted and at the end."""
    begun, events, position = time.monotonic(), 0, after
    left = sorted(wanted, reverse=True)
    digests: dict[int, str] = {}
    async with OrderedReader(core, stream, start=Start(after_sequence=after)) as reader:
        while not reader.is_caught_up:
            for recorded in await reader.take(wait_s=_WAIT_S):
                while left and left[-1] < recorded.sequence:
                    digests[left.pop()] = digest_of(projection.dump())
                projection.apply(recorded.sequence, recorded.subject, recorded.data)
                position = recorded.sequence
                events += 1
    end = digest_of(projection.dump())
    digests.update(dict.fromkeys((*left, position), end))
    return _Folded(digests, position, events, time.monotonic() - begun)
