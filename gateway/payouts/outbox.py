"""The outbox: payouts are requested, prepared, handed over and ended, each step on the log before the next.

Exactly once, because what will be handed over is stored before it is, by whoever was first to store it: a second copy,
or one behind a crash, finds it there and hands over the same.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.errors import PayoutError
from gateway.payouts.drivers.driver import Fate, Prepared
from mesh.history.book import read_book, write_book
from streams.billing.subjects import book_chain
from streams.clock import now_ms
from streams.payouts.book import PayoutBook, PayoutState
from streams.payouts.events import (
    PayoutConfirmed,
    PayoutDestinationSet,
    PayoutFailed,
    PayoutReplaced,
    PayoutRequested,
    PayoutSent,
)
from streams.tasks.task_id import new_task_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.payouts.drivers.driver import Outcome, PayoutDriver
    from mesh.bus.link import Link
    from mesh.history.book import Book
    from streams.billing.log import AnyBillingEvent
    from streams.payouts.book import PayoutRecord
    from streams.tokens import Token

log = logging.getLogger(__name__)

CHAIN: Final = book_chain("payouts")
_MOST_DETAIL: Final = 512


class Amount(NamedTuple):
    """How much of what."""

    nano: int
    currency: str


class Round(NamedTuple):
    """What one look at the outbox came to."""

    confirmed: int
    failed: int
    waiting: int
    """Handed over, or to be handed over again."""


async def read_payouts(core: Link) -> PayoutBook:
    """Read the book of payouts as it stands.

    Raises:
        BusError: if it cannot be read.
    """
    return PayoutBook((await read_book(core, CHAIN)).events)


async def set_destination(core: Link, node: Token, driver: PayoutDriver, address: str, *, by: str) -> str:
    """Note where a node's money goes from now on; returns the address in its canonical form.

    Raises:
        PayoutError: if nothing can be paid there.
        BusError: if it cannot be stored.
    """
    found = driver.check_address(address)

    def decide(book: Book) -> AnyBillingEvent | None:
        known = PayoutBook(book.events).destinations.get(node)
        if known is not None and (known.driver, known.address) == (driver.name, found):
            return None
        return PayoutDestinationSet(at_ms=now_ms(), node=node, driver=driver.name, address=found, by=by)

    await write_book(core, CHAIN, decide)
    return found


async def request(core: Link, node: Token, amount: Amount, *, balance_nano: int, seen_sequence: int) -> PayoutRequested:
    """Set an amount aside to be paid out.

    Args:
        core: a connection in CORE.
        node: whose.
        amount: how much of what.
        balance_nano: what the node has, by a fold of the books up to ``seen_sequence``.
        seen_sequence: how far that fold has read; payouts requested behind it are taken off here.

    Raises:
        PayoutError: if it has not so much, or nobody has said where its money goes.
        BusError: if it cannot be stored.
    """
    name = new_task_id()
    made: list[PayoutRequested] = []

    def decide(book: Book) -> AnyBillingEvent | None:
        folded = PayoutBook(book.events)
        if name in folded.records:
            return None
        if book.last_sequence > seen_sequence:
            raise PayoutError("the books have changed meanwhile: try again")
        destination = folded.destinations.get(node)
        if destination is None:
            raise PayoutError(f"nobody has said where the money of {node} goes: `ig3 payouts to {node} …` does")
        if not 0 < amount.nano <= balance_nano:
            raise PayoutError(f"{node} has {balance_nano} nano {amount.currency}, and {amount.nano} were asked for")
        event = made_of(destination, name, amount, now_ms())
        made.append(event)
        return event

    await write_book(core, CHAIN, decide)
    return made[-1]


def made_of(destination: PayoutDestinationSet, name: str, amount: Amount, at_ms: int) -> PayoutRequested:
    """Return the request that pays to where a node's money goes now."""
    return PayoutRequested(
        at_ms=at_ms,
        payout=name,
        node=destination.node,
        driver=destination.driver,
        address=destination.address,
        amount_nano=amount.nano,
        currency=amount.currency,
    )


class Outbox:
    """Brings the payouts of one driver forward. Several may run: what one has stored, the others hand over."""

    def __init__(self, core: Link, driver: PayoutDriver, *, clock_ms: Callable[[], int] = now_ms) -> None:
        """Work through ``core``."""
        self._core = core
        self._driver = driver
        self._clock_ms = clock_ms

    async def look(self) -> Round:
        """Bring every payout that is not over as far forward as it goes now.

        Raises:
            BusError: if the books cannot be read or written.
        """
        confirmed = failed = waiting = 0
        for record in (await read_payouts(self._core)).open(self._driver.name):
            state = await self._forward(record)
            confirmed += state is PayoutState.CONFIRMED
            failed += state is PayoutState.FAILED
            waiting += not state.is_over
        return Round(confirmed, failed, waiting)

    async def _forward(self, record: PayoutRecord) -> PayoutState:
        try:
            record = await self._prepare(record) if record.sent is None else record
            if record.state.is_over:
                # Somebody else has brought it to its end meanwhile.
                return record.state
            outcome = await self._hand_over(record)
            if outcome.fate is Fate.UNDERWAY and not outcome.is_taken:
                record, outcome = await self._replace(record, outcome)
        except PayoutError as error:
            log.warning("payout %s waits: %s", record.payout.id, error)
            return record.state
        if outcome.fate is Fate.UNDERWAY:
            log.info("payout %s is under way: %s", record.payout.id, outcome.detail)
            return PayoutState.SENT
        return await self._end(record, outcome)

    async def _hand_over(self, record: PayoutRecord) -> Outcome:
        *before, newest = _handed(record)
        return await self._driver.hand_over(record.payout, newest, before=tuple(before))

    async def _replace(self, record: PayoutRecord, outcome: Outcome) -> tuple[PayoutRecord, Outcome]:
        """Store what is handed over in the place of what is not taken, and hand it over: that which counts."""
        waited = timedelta(milliseconds=self._clock_ms() - record.changed_at_ms)
        dearer = await self._driver.replace(record.payout, _handed(record), waited=waited)
        if dearer is None:
            return record, outcome
        name = record.payout.id
        event = PayoutReplaced(
            at_ms=self._clock_ms(),
            payout=name,
            reference=dearer.reference,
            body=dearer.body,
            place=dearer.sequence,
        )
        was = _handed(record)[-1].reference
        log.warning("payout %s: %s is not taken, and is replaced by %s", name, was, dearer.reference)
        book = await write_book(
            self._core, CHAIN, lambda book: event if PayoutBook(book.events).records[name] == record else None
        )
        stands = PayoutBook(book.events).records[name]
        return (stands, outcome) if stands.state.is_over else (stands, await self._hand_over(stands))

    async def _prepare(self, record: PayoutRecord) -> PayoutRecord:
        """Store what will be handed over; returns the record with what counts, which somebody else may have stored."""
        name = record.payout.id
        book = await read_book(self._core, CHAIN)
        while (stands := (folded := PayoutBook(book.events)).records[name]).sent is None:
            prepared = await self._driver.prepare(record.payout, underway=folded.underway(self._driver.name))
            book = await self._store_prepared(book, name, prepared)
        return stands

    async def _store_prepared(self, seen: Book, name: str, prepared: Prepared) -> Book:
        """Store it only behind the very book that it was prepared from: its place may be taken since."""
        event = PayoutSent(
            at_ms=self._clock_ms(),
            payout=name,
            reference=prepared.reference,
            body=prepared.body,
            place=prepared.sequence,
        )
        return await write_book(
            self._core, CHAIN, lambda book: event if book.last_sequence == seen.last_sequence else None
        )

    async def _end(self, record: PayoutRecord, outcome: Outcome) -> PayoutState:
        payout, kind = record.payout, PayoutConfirmed if outcome.fate is Fate.CONFIRMED else PayoutFailed
        event = kind(
            at_ms=self._clock_ms(),
            payout=payout.id,
            node=payout.node,
            amount_nano=payout.amount_nano,
            currency=payout.currency,
            detail=outcome.detail[:_MOST_DETAIL],
        )
        # What was handed over besides, since this was looked at, may be what was taken: it is looked at again then.
        book = await write_book(
            self._core, CHAIN, lambda book: event if PayoutBook(book.events).records[payout.id] == record else None
        )
        state = PayoutBook(book.events).records[payout.id].state
        log.info("payout %s of %s %s to %s is %s", payout.id, payout.amount_text, payout.currency, payout.node, state)
        return state


def _handed(record: PayoutRecord) -> tuple[Prepared, ...]:
    """All that was handed over for a payout, the newest last."""
    sent = () if record.sent is None else (record.sent,)
    return tuple(
        Prepared(reference=each.reference, body=each.body, sequence=each.place)
        for each in (*sent, *record.replacements)
    )
