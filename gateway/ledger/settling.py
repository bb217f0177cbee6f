"""From the ends of tasks to entries in the books: taken from ENDED and HITS, acknowledged only behind the stored entry.

What came together is written together, one event per account; accounts do not wait for each other.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.bus.work import WorkQueue
from mesh.errors import BusError
from mesh.telemetry.names import LEDGER_LAG, LEDGER_SETTLED, LEDGER_SUSPENDED
from streams.billing.events import LedgerPosted
from streams.billing.subjects import UNKNOWN, account_chain
from streams.cache.events import CacheHit
from streams.clock import now_ms
from streams.codec import decode, decode_end_event
from streams.consumers import LEDGER
from streams.errors import InvalidSubject, NewerEvent, StreamsError
from streams.ledger.charging import Settled, forgotten, settle, suspense, unreadable
from streams.ledger.hits import charge_hit, hit_id
from streams.subjects import CHECKS, TaskKey, parse_ended
from streams.tokens import Token, is_token
from streams.topology import ENDED, HITS

if TYPE_CHECKING:
    from gateway.ledger.books import Books
    from gateway.ledger.settings import LedgerSettings
    from mesh.bus.link import Link
    from mesh.bus.work import Work
    from mesh.telemetry.telemetry import Telemetry
    from streams.billing.events import Transaction
    from streams.billing.log import AnyBillingEvent
    from streams.events import EndEvent
    from streams.ledger.chain import ChainState

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 400
"""Transactions in one event: some 200 KB."""

_NEWER_AGAIN: Final = timedelta(seconds=30)
_PAUSE_S: Final = 1.0
_A_NUMBER: Final = "Expected `int`"
"""What msgspec says of a number out of its bounds."""


class _End(NamedTuple):
    """An end that is to be settled; ``end`` None: it cannot be read, for ``reason``."""

    work: Work
    key: TaskKey
    end: EndEvent | None
    reason: str = ""


class _Hit(NamedTuple):
    """Answers out of the cache that are to be charged."""

    work: Work
    account: Token
    hit: CacheHit


class _Lost(NamedTuple):
    """Something that names no task and no account."""

    work: Work
    key: TaskKey
    reason: str


_Item = _End | _Hit | _Lost


class Settling:
    """Takes what is to be charged and sees it into the books."""

    def __init__(self, core: Link, books: Books, settings: LedgerSettings, telemetry: Telemetry) -> None:
        """Prepare; ``start`` begins to take."""
        self._books = books
        self._telemetry = telemetry
        window = settings.ledger_window
        self._queues = (
            WorkQueue(core, ENDED, LEDGER, self._on_end, window=window),
            WorkQueue(core, HITS, LEDGER, self._on_hit, window=window),
        )
        self._waiting: dict[Token, deque[_Item]] = {}
        self._pumps: dict[Token, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Begin to take."""
        for queue in self._queues:
            await queue.start()

    async def stop(self) -> None:
        """Take no more; what is not in the books goes back."""
        for pump in tuple(self._pumps.values()):
            pump.cancel()
        await asyncio.gather(*self._pumps.values(), return_exceptions=True)
        for queue in self._queues:
            await queue.stop()

    def _on_end(self, work: Work) -> None:
        try:
            key = parse_ended(work.subject)
        except InvalidSubject as error:
            self._enqueue(UNKNOWN, _Lost(work, _unknown(work), str(error)))
            return
        if key.account == CHECKS:
            # The mesh asks itself, to compare answers: nobody pays, and nobody earns.
            work.done()
            return
        try:
            end = decode_end_event(work.data)
        except NewerEvent as error:
            if _A_NUMBER in str(error):
                # A newer version would not write other numbers: somebody claims what cannot be.
                self._enqueue(key.account, _End(work, key, None, str(error)))
                return
            log.error("the end of task %s is not charged until an upgrade: %s", key.task, error)
            work.hand_back(_NEWER_AGAIN)
            return
        except StreamsError as error:
            self._enqueue(key.account, _End(work, key, None, str(error)))
            return
        self._enqueue(key.account, _End(work, key, end))

    def _on_hit(self, work: Work) -> None:
        account = work.subject.rpartition(".")[2]
        try:
            hit = decode(work.data, CacheHit)
        except StreamsError as error:
            known = Token(account) if is_token(account) else UNKNOWN
            self._enqueue(known, _Lost(work, TaskKey(known, _unknown(work).task), str(error)))
            return
        self._enqueue(Token(account), _Hit(work, Token(account), hit))

    def _enqueue(self, account: Token, item: _Item) -> None:
        self._waiting.setdefault(account, deque()).append(item)
        if account not in self._pumps:
            self._pumps[account] = asyncio.create_task(self._pump(account), name=f"settling-{account}")

    async def _pump(self, account: Token) -> None:
        waiting = self._waiting[account]
        try:
            while waiting:
                batch = [waiting.popleft() for _ in range(min(len(waiting), MOST_AT_ONCE))]
                await self._settle(account, batch)
        finally:
            # No await since the queue was seen empty: what comes now begins a pump of its own.
            del self._pumps[account], self._waiting[account]

    async def _settle(self, account: Token, batch: list[_Item]) -> None:
        writing = _Writing(account, batch, self._books)
        while True:
            try:
                await self._books.write(account_chain(account), writing.compose)
                if writing.has_suspects:
                    # Nothing is suspect by what stood a moment ago: a price list may have come just now.
                    await self._books.catch_up()
                    writing.may_suspend = True
                    await self._books.write(account_chain(account), writing.compose)
            except BusError as error:
                log.warning("%d ends of account %s are not in the books yet: %s", len(batch), account, error)
                await asyncio.sleep(_PAUSE_S)
                continue
            break
        for item in batch:
            item.work.done()
        self._tell(batch, writing)

    def _tell(self, batch: list[_Item], writing: _Writing) -> None:
        now = now_ms()
        for item in batch:
            if isinstance(item, _End) and item.end is not None:
                self._telemetry.record(LEDGER_LAG, max(0, now - item.end.at_ms) / 1000, {})
        self._telemetry.add(LEDGER_SETTLED, len(batch))
        for code, message in writing.suspended:
            self._telemetry.add(LEDGER_SUSPENDED, 1, {"code": code})
            log.error("account %s: an entry in suspense (%s): %s", writing.account, code, message)


class _Writing:
    """What a batch becomes: one event of all that is plain, and one for each that is not."""

    def __init__(self, account: Token, batch: list[_Item], books: Books) -> None:
        self.account = account
        self._batch = batch
        self._books = books
        self._named: dict[str, tuple[str, str]] = {}
        self.has_suspects = False
        self.may_suspend = False
        """Whether what is suspect is written; else only what is plain."""

    @property
    def suspended(self) -> list[tuple[str, str]]:
        """What was put in suspense: code and message."""
        return list(self._named.values())

    def compose(self, chain: ChainState, at_ms: int) -> AnyBillingEvent | None:
        """Return what is not in the books yet, as the next event."""
        plain: dict[str, Transaction] = {}
        first: Settled | None = None
        for item in self._batch:
            settled = self._settled(item, chain, at_ms)
            if settled is None:
                continue
            if settled.code is None:
                plain.setdefault(settled.transaction.id, settled.transaction)
            else:
                first = first or settled
        if plain:
            return LedgerPosted(at_ms=at_ms, previous=chain.digest, transactions=tuple(plain.values()))
        self.has_suspects = first is not None
        if first is None or first.code is None or not self.may_suspend:
            return None
        self._named[first.transaction.id] = (first.code, f"{first.transaction.id}: {first.message}")
        return first.suspended(previous=chain.digest)

    def _settled(self, item: _Item, chain: ChainState, at_ms: int) -> Settled | None:
        match item:
            case _Hit():
                if chain.has(hit_id(item.hit)):
                    return None
                state = self._books.state
                return Settled(transaction=charge_hit(item.account, item.hit, state, chain.plan, at_ms=at_ms))
            case _Lost():
                transaction = suspense(item.key, None, at_ms=at_ms)
                if chain.has(transaction.id):
                    return None
                return Settled(transaction=transaction, code="unreadable", message=item.reason[:512])
            case _End():
                return self._settled_end(item, chain, at_ms)

    def _settled_end(self, item: _End, chain: ChainState, at_ms: int) -> Settled | None:
        if chain.is_settled(item.key.task):
            return None
        hold = chain.holds.get(item.key.task)
        if hold is None and chain.is_forgotten(item.key.task):
            return forgotten(item.key, at_ms=at_ms)
        if item.end is None:
            return unreadable(item.key, hold, item.reason, at_ms=at_ms)
        return settle(item.key, item.end, hold, self._books.state.prices, at_ms=at_ms)


def _unknown(work: Work) -> TaskKey:
    digest = hashlib.sha256(work.subject.encode() + work.data).hexdigest()
    return TaskKey(UNKNOWN, Token(f"unknown-{digest[:48]}"))
