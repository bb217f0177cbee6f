"""The books in this process: the fold of BILLING, and the one way to write to it.

Every write is composed of what its chain has come to, names the last sequence of the chain, and is refused if that has
moved; then the stream is read and the write composed anew. So two ledgers may run, and the second is only slower.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mesh.bus.appends import Fence
from mesh.errors import BusError, FenceMismatch, PublishUnknown
from mesh.history.book import readable
from mesh.history.checkpoint import Checkpoint
from mesh.history.tail import StreamTail
from streams.billing.log import AnyBillingEvent
from streams.clock import now_ms
from streams.codec import encode
from streams.digest import digest_of
from streams.ledger.chain import ChainState
from streams.ledger.dump import dump, load
from streams.ledger.fold import LedgerState
from streams.messages import FoldDigest
from streams.topology import BILLING

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.history.snapshots import SnapshotStore
    from streams.billing.subjects import Chain

log = logging.getLogger(__name__)

NAME: Final = "ledger"
"""What snapshots of the books are called."""

_SUBJECTS: Final = ("billing.*", "books.*")
_TRIES: Final = 40
_PAUSE_S: Final = 0.05

Compose = Callable[[ChainState, int], AnyBillingEvent | None]
"""Gets what the chain has come to, and the time; returns what is to be written next, or None if nothing is."""


class BooksProjection:
    """The fold of BILLING with its snapshots."""

    name = NAME
    version = LedgerState.VERSION

    def __init__(self, state: LedgerState) -> None:
        """Feed ``state``."""
        self._state = state

    def apply(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in one event; what is not as it must be is counted, and an error in the log."""
        before = self._state.fault_count
        self._state.apply(sequence, subject, data)
        if self._state.fault_count > before:
            log.error("event %d of BILLING (%s) is not as it must be: see `ig3 ledger verify`", sequence, subject)

    def dump(self) -> bytes:
        """Return the whole state."""
        return dump(self._state)

    def load(self, data: bytes) -> None:
        """Replace the whole state."""
        load(self._state, data)


class Books:
    """What BILLING adds up to, kept up with it, and written."""

    def __init__(self, core: Link, snapshots: SnapshotStore | None = None) -> None:
        """Prepare; ``start`` reads what is stored, from the newest of ``snapshots`` on where there is one."""
        self.state = LedgerState()
        self._core = core
        self._projection = BooksProjection(self.state)
        checkpoint = None if snapshots is None else Checkpoint(core, BILLING, self._projection, snapshots)
        self._tail = StreamTail(core, BILLING, ">", self._projection.apply, checkpoint=checkpoint, nudges=_SUBJECTS)
        self._locks: dict[str, asyncio.Lock] = {}
        self._ahead = 0

    @property
    def core(self) -> Link:
        """The connection that they are read and written by."""
        return self._core

    def last_sequence_of(self, subject: str) -> int:
        """The last event of a chain that this process knows of; 0: none."""
        return self.state.chain(subject).last_sequence

    async def start(self) -> None:
        """Read the books and follow them from then on.

        Raises:
            BusError: if they cannot be read.
        """
        await self._tail.start()

    async def stop(self) -> None:
        """Stop following."""
        await self._tail.stop()

    async def save(self) -> None:
        """Write a snapshot now; a full disk is only a warning."""
        await self._tail.save()

    async def catch_up(self) -> bool:
        """Read all that is stored by now; returns whether it was there: in a cluster the copy that answers may lag.

        Raises:
            BusError: if it cannot be read.
        """
        newest = await self._tail.catch_up()
        return self._tail.position >= newest

    def told(self) -> FoldDigest | None:
        """Return what the books add up to here; None while this process knows of writes that it has not read yet."""
        if self._ahead > self._tail.position:
            return None
        return FoldDigest(projection=NAME, sequence=self._tail.position, state=digest_of(self._projection.dump()))

    async def write(self, chain: Chain, compose: Compose, *, by_hand: bool = False) -> int:
        """Write to a chain until ``compose`` has nothing left; returns the last sequence of the chain.

        Whoever was overtaken reads on and composes anew; so does whoever does not know whether an event was stored.

        Args:
            chain: which.
            compose: what is to be written next.
            by_hand: it is of what a person has typed, so it is looked whether it can be read again.

        Raises:
            BusError: if it cannot be stored now; what was written before stands.
            UndecodableEvent: if it could not be read again; it is not written.
        """
        lock = self._locks.setdefault(chain.subject, asyncio.Lock())
        async with lock:
            failures = 0
            while True:
                state = self.state.chain(chain.subject)
                event = compose(state, max(now_ms(), state.at_ms))
                if event is None:
                    return state.last_sequence
                data = readable(event, chain) if by_hand else encode(event)
                try:
                    await self._append(chain, state, data)
                except (FenceMismatch, PublishUnknown) as error:
                    failures += 1
                    if failures >= _TRIES:
                        raise PublishUnknown(f"{chain.subject} cannot be written now: {error}") from error
                    await self._look_again(failures)

    async def _append(self, chain: Chain, state: ChainState, data: bytes) -> None:
        fence = Fence(chain.subject, state.last_sequence)
        sequence = await self._core.append(chain.subject, data, fence=fence)
        # Not waiting until it comes back from the stream: whoever asks next is asking about what stands now.
        self._ahead = max(self._ahead, sequence)
        self.state.apply(sequence, chain.subject, data)

    async def _look_again(self, failures: int) -> None:
        if failures > 1:
            # Two that have been overtaken by each other do not try again at the same moment.
            await asyncio.sleep(_PAUSE_S * random.random())  # noqa: S311 - spreads load, guards nothing
        try:
            await self._tail.catch_up()
        except BusError as error:
            log.warning("the books cannot be read now, trying again: %s", error)
            await asyncio.sleep(_PAUSE_S * failures)
