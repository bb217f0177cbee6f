"""``ig3 ledger verify``: the log read from its first event, and compared with everything that is believed of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.ledger.books import NAME, BooksProjection
from gateway.ledger.recomputing import SEALED, Difference, Ends, Recomputing
from gateway.ledger.sealing import read_seals
from mesh.errors import BusError
from mesh.history.ordered import OrderedReader, Start
from mesh.history.snapshots import Source
from mesh.history.stream_facts import stream_facts
from mesh.inspection.services import projections_of_services
from streams.consumers import LEDGER
from streams.digest import digest_of
from streams.errors import InvalidSubject, StreamsError
from streams.ledger.dump import dump, load
from streams.ledger.fold import LedgerState
from streams.subjects import CHECKS, parse_ended
from streams.topology import BILLING, ENDED

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.history.snapshots import Snapshot, SnapshotStore
    from mesh.history.stream_facts import StreamFacts

_WAIT_S: Final = 5.0


class Verified(Struct, frozen=True, kw_only=True):
    """What a verification has read, and each difference by name."""

    events: int
    transactions: int
    suspensions: int
    charges_compared: int
    """With their ends, as far back as ENDED has them."""
    snapshots_compared: int
    ledgers_compared: int
    seals_compared: int
    took_s: float
    differences: tuple[Difference, ...]


async def verify(core: Link, snapshots: SnapshotStore, *, is_quick: bool = False) -> Verified:
    """Recompute the books, and compare.

    Args:
        core: a connection in CORE.
        snapshots: those of the ledgers on this machine.
        is_quick: begin at the newest snapshot instead of the first event, and believe it.

    Raises:
        BusError: if the log cannot be read.
    """
    began = time.monotonic()
    facts = await stream_facts(core, BILLING)
    kept = list(snapshots.candidates(_source(facts)))
    told = [
        (one.service, fold)
        for one in await projections_of_services(core)
        for fold in one.folds
        if fold.projection == NAME
    ]
    ends, settled_to = Ends(), await _settled_to(core)
    await _read_ends(core, ends)
    claims = [*(fold.sequence for _, fold in told), *(snapshot.sequence for snapshot in kept)]
    recomputing = Recomputing(ends, () if is_quick else claims, is_whole=not is_quick)
    first = _begin(recomputing, kept) if is_quick else 0
    await _expect_seals(core, recomputing, first)
    await _read_books(core, recomputing, first)
    recomputing.end()
    if not is_quick:
        _compare_claims(recomputing, [(f"ledger {name}", fold.sequence, fold.state) for name, fold in told])
        _compare_snapshots(recomputing, kept)
    _name_unsettled(recomputing, ends, settled_to)
    state = recomputing.state
    return Verified(
        events=recomputing.events,
        transactions=state.transactions,
        suspensions=state.suspensions,
        charges_compared=ends.compared,
        snapshots_compared=0 if is_quick else len(kept),
        ledgers_compared=0 if is_quick else len(told),
        seals_compared=recomputing.seals_compared,
        took_s=time.monotonic() - began,
        differences=tuple(recomputing.differences),
    )


async def _settled_to(core: Link) -> int:
    """Up to which sequence every end of ENDED was acknowledged, so must be in the books."""
    answer = await core.request(f"$JS.API.CONSUMER.INFO.{ENDED}.{LEDGER}", b"")
    floor = json.loads(answer.data).get("ack_floor")
    if floor is None:
        raise BusError("the consumer of the ledgers on ENDED is not there: `ig3 streams provision` makes it")
    return int(floor["stream_seq"])


async def _read_ends(core: Link, ends: Ends) -> None:
    async with OrderedReader(core, ENDED) as reader:
        while not reader.is_caught_up:
            for each in await reader.take(wait_s=_WAIT_S):
                try:
                    key = parse_ended(each.subject)
                except InvalidSubject:
                    continue
                if key.account != CHECKS:
                    ends.add(key, each.sequence, each.data)


async def _expect_seals(core: Link, recomputing: Recomputing, after: int) -> None:
    try:
        recomputing.expect(await read_seals(core), after=after)
    except StreamsError as error:
        recomputing.differ(SEALED, f"no month can be compared with its seal: {error}")


async def _read_books(core: Link, recomputing: Recomputing, after: int) -> None:
    async with OrderedReader(core, BILLING, start=Start(after_sequence=after)) as reader:
        while not reader.is_caught_up:
            for each in await reader.take(wait_s=_WAIT_S):
                recomputing.take(each.sequence, each.subject, each.data)


def _source(facts: StreamFacts) -> Source:
    return Source(
        projection=NAME, version=BooksProjection.version, stream=BILLING, stream_created=facts.created, filters=()
    )


def _begin(recomputing: Recomputing, kept: list[Snapshot]) -> int:
    for snapshot in kept:
        load(recomputing.state, snapshot.state)
        return snapshot.sequence
    return 0


def _compare_claims(recomputing: Recomputing, claims: list[tuple[str, int, str]]) -> None:
    for who, sequence, digest in claims:
        if recomputing.digests.get(sequence) != digest:
            recomputing.differ(who, f"at sequence {sequence} of {BILLING} the log adds up to something else")


def _compare_snapshots(recomputing: Recomputing, kept: list[Snapshot]) -> None:
    """A snapshot may have what its ledger had written and not read yet: of each chain, what it has must be right."""
    for snapshot in kept:
        state = LedgerState()
        load(state, snapshot.state)
        ahead = any(chain.last_sequence > snapshot.sequence for chain in state.chains.values())
        if not ahead and recomputing.digests.get(snapshot.sequence) != digest_of(dump(state)):
            recomputing.differ(
                f"snapshot at {snapshot.sequence}", f"the log adds up to something else there: remove {NAME}-*.snapshot"
            )


def _name_unsettled(recomputing: Recomputing, ends: Ends, settled_to: int) -> None:
    chains = recomputing.state.chains
    for (account, task), (sequence, _) in ends.bodies.items():
        if sequence > settled_to:
            continue
        chain = chains.get(f"billing.{account}")
        if chain is None or (task not in chain.settled and not chain.is_forgotten(task.hex())):
            recomputing.differ(f"task {task.hex()} of {account}", "it has ended, and nothing of it is in the books")
