"""The desk where it is asked whether a task may be accepted: what it may cost is put aside, or it is refused.

What is asked of one account while a write of it is under way is decided together and written as one event.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.errors import BusError
from mesh.telemetry.names import LEDGER_HOLDS
from streams.billing.events import LedgerPosted, Transaction
from streams.billing.messages import HoldRefused, HoldWanted, LedgerRefusal
from streams.billing.subjects import account_chain, ledger_api
from streams.codec import decode, encode
from streams.consumers import LEDGER
from streams.errors import StreamsError
from streams.ledger.holding import Taken, decide, held_by
from streams.tokens import Token, token

if TYPE_CHECKING:
    from gateway.ledger.books import Books
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener
    from mesh.telemetry.telemetry import Telemetry
    from streams.billing.log import AnyBillingEvent
    from streams.billing.messages import HoldAnswer
    from streams.ledger.chain import ChainState

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 400
"""Holds in one event."""


class _Asked(NamedTuple):
    delivery: Delivery
    want: HoldWanted


class HoldsDesk:
    """Answers ``ledger.hold``."""

    def __init__(self, core: Link, books: Books, telemetry: Telemetry) -> None:
        """Prepare; ``start`` begins to answer."""
        self._core = core
        self._books = books
        self._telemetry = telemetry
        self._listener: Listener | None = None
        self._waiting: dict[Token, list[_Asked]] = {}
        self._pumps: dict[Token, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Begin to answer."""
        self._listener = await self._core.listen(ledger_api("hold"), self._on_request, queue=LEDGER)

    async def stop(self) -> None:
        """Answer no more; whoever waits asks another ledger, or this one when it is back."""
        if self._listener is not None:
            await self._listener.close()
        for pump in tuple(self._pumps.values()):
            pump.cancel()
        await asyncio.gather(*self._pumps.values(), return_exceptions=True)

    def _on_request(self, delivery: Delivery) -> None:
        try:
            want = decode(delivery.data, HoldWanted)
            account = token(want.account)
        except StreamsError as error:
            self._core.reply_to(
                delivery, encode(LedgerRefusal(message=f"that is no question about a hold: {error}"[:512]))
            )
            return
        self._waiting.setdefault(account, []).append(_Asked(delivery, want))
        if account not in self._pumps:
            self._pumps[account] = asyncio.create_task(self._pump(account), name=f"holds-{account}")

    async def _pump(self, account: Token) -> None:
        waiting = self._waiting[account]
        try:
            while waiting:
                batch, waiting[:] = waiting[:MOST_AT_ONCE], waiting[MOST_AT_ONCE:]
                await self._answer(account, batch)
        finally:
            # No await since the list was seen empty: what comes now begins a pump of its own.
            del self._pumps[account], self._waiting[account]

    async def _answer(self, account: Token, batch: list[_Asked]) -> None:
        deciding = _Deciding(self._books, [asked.want for asked in batch])
        try:
            await self._books.write(account_chain(account), deciding.compose)
            if deciding.refuses:
                # Nobody is refused by what stood a moment ago: somebody may have paid in just now.
                await self._books.catch_up()
                await self._books.write(account_chain(account), deciding.compose)
        except BusError as error:
            log.warning("holds of account %s cannot be written now: %s", account, error)
            refusal = encode(LedgerRefusal(message=f"the books cannot be written now: {error}"[:512]))
            for asked in batch:
                self._core.reply_to(asked.delivery, refusal)
            return
        for asked, answer in zip(batch, deciding.answers, strict=True):
            self._core.reply_to(asked.delivery, encode(answer))
            said = answer.code if isinstance(answer, HoldRefused) else "held"
            self._telemetry.add(LEDGER_HOLDS, 1, {"answer": said})


class _Deciding:
    """What a batch of questions becomes: one event with all that is put aside, and an answer to each."""

    def __init__(self, books: Books, wants: list[HoldWanted]) -> None:
        self._books = books
        self._wants = wants
        self.answers: list[HoldAnswer] = []

    @property
    def refuses(self) -> bool:
        """Whether somebody would be refused."""
        return any(isinstance(answer, HoldRefused) for answer in self.answers)

    def compose(self, chain: ChainState, at_ms: int) -> AnyBillingEvent | None:
        """Decide anew on what stands now; behind the write all is there, and nothing is left to write."""
        taken = Taken()
        decided = [decide(self._books.state, chain, want, taken, at_ms=at_ms) for want in self._wants]
        self.answers = [held_by(each) if isinstance(each, Transaction) else each for each in decided]
        if not taken.holds:
            return None
        return LedgerPosted(at_ms=at_ms, previous=chain.digest, transactions=tuple(taken.holds.values()))
