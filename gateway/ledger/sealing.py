"""Months that are over are sealed: the hash of their events, and what the books have come to, stand on the log.

A month has the events that the broker has stored in it, so all who look agree where it ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.errors import LedgerError
from gateway.ledger.clocks import by_both_clocks
from mesh.history.book import read_book, write_book
from mesh.history.ordered import OrderedReader
from mesh.history.stream_facts import stream_facts
from streams.billing.events import PeriodSealed
from streams.billing.subjects import book_chain
from streams.ledger.chain import month_of
from streams.ledger.fold import LedgerState
from streams.ledger.periods import OpenPeriod, ends_ms, month_after, month_before, months_due
from streams.topology import BILLING

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.history.book import Book
    from streams.billing.log import AnyBillingEvent

CHAIN: Final = book_chain("sealed")

_WAIT_S: Final = 5.0
_NS_PER_MS: Final = 1_000_000
_BREATH: Final = 64
"""Events that are added up without letting others do something."""


class Sealing(NamedTuple):
    """What became of a wish to seal a month."""

    seal: PeriodSealed
    is_new: bool


async def read_seals(core: Link) -> tuple[PeriodSealed, ...]:
    """Read what was sealed, the oldest first.

    Raises:
        BusError: if it cannot be read.
        UndecodableEvent: if something stands there that this version cannot read.
    """
    return _seals(await read_book(core, CHAIN))


async def due(core: Link, *, at_ms: int | None = None) -> list[str]:
    """Return the months that are over and not sealed, and the last that is over, in order.

    Args:
        core: a connection in CORE.
        at_ms: the time; left out: the clock's that is behind, of this machine and of the broker.

    Raises:
        LedgerError: if no month of the books is over.
        BusError: if they cannot be read.
    """
    last = month_before(await by_both_clocks(core) if at_ms is None else at_ms)
    found = await months_to_seal(core, last)
    if not found and seal_of(await read_seals(core), last) is None:
        begins = await _first_month(core)
        why = "the books are empty" if begins is None else f"the books begin in {begins}, which is not over"
        raise LedgerError(f"{why}: nothing can be sealed yet")
    return found or [last]


async def months_to_seal(core: Link, last: str) -> list[str]:
    """Return the months up to ``last`` that are not sealed, in order.

    Raises:
        BusError: if the books cannot be read.
    """
    first = await _first_month(core)
    return [] if first is None else months_due(first, await read_seals(core), last)


async def seal(core: Link, period: str, *, at_ms: int | None = None) -> Sealing:
    """Seal a month that is over; one that was sealed before stays as it is.

    Args:
        core: a connection in CORE.
        period: the month, ``2026-11``.
        at_ms: the time; left out: the clock's that is behind, of this machine and of the broker.

    Raises:
        InvalidPeriod: if that is no month.
        LedgerError: if it is not over, or does not follow what was sealed before.
        BusError: if the books cannot be read, or written now.
    """
    now = await by_both_clocks(core) if at_ms is None else at_ms
    if now < ends_ms(period):
        raise LedgerError(f"{period} is not over (UTC): a month is sealed when nothing can be written in it any more")
    seals = await read_seals(core)
    found = seal_of(seals, period)
    if found is not None:
        return Sealing(found, is_new=False)
    expected = month_after(seals[-1].period) if seals else await _first_month(core)
    if expected is None:
        raise LedgerError("the books are empty: there is nothing to seal")
    if period != expected:
        raise LedgerError(f"the next month to seal is {expected}, not {period}: months are sealed in their order")
    fresh = await _add_up(core, period, seals[-1].last_sequence + 1 if seals else 1, now)
    is_new = False

    def decide(book: Book) -> AnyBillingEvent | None:
        nonlocal is_new
        # Somebody else may have sealed it meanwhile: what stands there first counts.
        is_new = seal_of(_seals(book), period) is None
        return fresh if is_new else None

    stored = seal_of(_seals(await write_book(core, CHAIN, decide)), period)
    if stored is None:
        raise LedgerError(f"{period} is not sealed: look at `ig3 ledger export`, and repeat")
    return Sealing(stored, is_new=is_new)


def seal_of(seals: tuple[PeriodSealed, ...], period: str) -> PeriodSealed | None:
    """Return the seal of a month; the first of one counts."""
    return next((each for each in seals if each.period == period), None)


async def _add_up(core: Link, period: str, first_sequence: int, at_ms: int) -> PeriodSealed:
    state, end_ns = LedgerState(), ends_ms(period) * _NS_PER_MS
    adding = OpenPeriod(state, first_sequence) if first_sequence == 1 else None
    async with OrderedReader(core, BILLING) as reader:
        while not reader.is_caught_up:
            for each in await reader.take(wait_s=_WAIT_S):
                if each.sequence % _BREATH == 0:
                    # A ledger seals too: whoever asks it for a hold meanwhile does not wait for all of this.
                    await asyncio.sleep(0)
                if each.sequence >= first_sequence:
                    adding = adding or OpenPeriod(state, first_sequence)
                    if each.stored_ns >= end_ns:
                        return adding.seal(period, at_ms=at_ms)
                    adding.take(each.sequence, each.subject, each.data)
                state.apply(each.sequence, each.subject, each.data)
    return (adding or OpenPeriod(state, first_sequence)).seal(period, at_ms=at_ms)


async def _first_month(core: Link) -> str | None:
    """The month of the first event; None: there is none."""
    first_at = (await stream_facts(core, BILLING)).first_at
    return None if first_at is None else month_of(int(first_at.timestamp() * 1000))


def _seals(book: Book) -> tuple[PeriodSealed, ...]:
    return tuple(event for event in book.events if isinstance(event, PeriodSealed))
