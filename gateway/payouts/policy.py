"""Payouts that are requested by the ledger itself, by what an operator has said of nodes: never before that."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.payouts.outbox import CHAIN, Amount, made_of
from mesh.history.book import Book, read_book, write_book
from streams.payouts.book import Asked, PayoutBook
from streams.tasks.task_id import new_task_id
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.ledger.books import Books
    from mesh.bus.link import Link
    from streams.billing.log import AnyBillingEvent
    from streams.payouts.events import PayoutPolicySet

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 200
"""Requests of one look: the next look makes the others."""


async def set_policy(core: Link, policy: PayoutPolicySet) -> None:
    """Say when payouts are requested by themselves, from now on.

    Raises:
        BusError: if it cannot be stored.
    """

    def decide(book: Book) -> AnyBillingEvent | None:
        known = PayoutBook(book.events).policies.get((policy.node, policy.currency))
        return None if known is not None and _terms(known) == _terms(policy) else policy

    await write_book(core, CHAIN, decide)


class Due(NamedTuple):
    """What a node has, of which something is to be requested."""

    node: Token
    currency: str
    balance_nano: int
    asked: Asked


class Requests:
    """Requests what is due, each once: whoever else does so writes behind the same fence."""

    name = "payout_requested"

    def __init__(self, books: Books) -> None:
        """Read balances from ``books``."""
        self._books = books
        self._core = books.core
        self._standing = _Standing()

    async def look(self, now_ms: int) -> int:
        """Request what is due; returns how many payouts were requested here.

        Raises:
            BusError: if the books cannot be read or written.
            UndecodableEvent: if a newer version wrote there.
        """
        # What was written a moment ago, by this process too, reaches the fold of the books later.
        await self._books.catch_up()
        if self._known_to == 0:
            return 0
        if self._known_to != self._standing.book.last_sequence:
            self._standing.take(await read_book(self._core, CHAIN))
        if self._standing.book.last_sequence > self._known_to:
            # What was requested since is not taken off the balances yet.
            return 0
        done = 0
        for due in list(self._due(now_ms))[:MOST_AT_ONCE]:
            done += await self._request(due, now_ms)
        return done

    @property
    def _known_to(self) -> int:
        return self._books.last_sequence_of(CHAIN.subject)

    def _due(self, now_ms: int) -> Iterator[Due]:
        folded = self._standing.folded
        if not folded.policies:
            return
        for (account, currency), balance_nano in sorted(self._books.state.balances.items()):
            kind, _, name = account.partition(":")
            if kind == "node" and folded.due_nano(Token(name), currency, balance_nano, now_ms=now_ms):
                yield Due(Token(name), currency, balance_nano, folded.asked(Token(name), currency))

    async def _request(self, due: Due, now_ms: int) -> bool:
        name = new_task_id()

        def decide(book: Book) -> AnyBillingEvent | None:
            folded = self._standing.take(book)
            if folded.asked(due.node, due.currency) != due.asked:
                # It is made, or somebody else has asked meanwhile: the balance is not what it was.
                return None
            amount = Amount(folded.due_nano(due.node, due.currency, due.balance_nano, now_ms=now_ms), due.currency)
            destination = folded.destinations.get(due.node)
            return None if destination is None or not amount.nano else made_of(destination, name, amount, now_ms)

        self._standing.take(await write_book(self._core, CHAIN, decide, known=self._standing.book))
        record = self._standing.folded.records.get(name)
        if record is None:
            return False
        log.info("payout %s of %s %s to %s is requested", name, record.payout.amount_text, due.currency, due.node)
        return True


class _Standing:
    """The chain of payouts as it was read, and what it adds up to: each event is folded once."""

    def __init__(self) -> None:
        self.book = Book()
        self.folded = PayoutBook()

    def take(self, book: Book) -> PayoutBook:
        """Fold what is new on the chain, which only grows."""
        for event in book.events[len(self.book.events) :]:
            self.folded.apply(event)
        self.book = book
        return self.folded


def _terms(policy: PayoutPolicySet) -> tuple[object, ...]:
    return tuple(getattr(policy, name) for name in policy.__struct_fields__ if name not in ("at_ms", "previous", "by"))
