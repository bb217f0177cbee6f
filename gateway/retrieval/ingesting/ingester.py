"""Taking files from STORES: retrieval processes share them by one consumer; those of one that dies go to another."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.retrieval.ingesting.intake import Intake
from gateway.retrieval.ingesting.means import NotNow
from mesh.bus.work import WorkQueue
from mesh.errors import BusError
from mesh.telemetry.names import ATTRIBUTE_OUTCOME, FILES_TAKEN_IN
from mesh.telemetry.telemetry import Telemetry
from streams.clock import now_ms
from streams.codec import decode_store_event
from streams.consumers import INGESTERS
from streams.errors import NewerEvent, StreamsError
from streams.stores import subjects as store_subjects
from streams.stores.events import (
    StoreBatchCancelled,
    StoreClosed,
    StoreExpired,
    StoreFileAdded,
    StoreFileFailed,
    StoreFileIndexed,
    StoreFileRemoved,
    StoreReembedding,
)
from streams.stores.subjects import PassagesKey, StoreKey, parse_store
from streams.tokens import Token
from streams.topology import STORES

if TYPE_CHECKING:
    from gateway.retrieval.ingesting.means import Means
    from mesh.bus.link import Link
    from mesh.bus.work import Work
    from streams.stores.events import StoreEvent
    from streams.stores.fold import StoreFile, StoreState

log = logging.getLogger(__name__)

_AGAIN: Final = timedelta(seconds=5)
_MOST_FAULTS: Final = 3
_LATER: Final = timedelta(seconds=15)
_NEWER: Final = timedelta(seconds=30)
_LOOK_S: Final = 2.0
"""How often it is looked at whether a file that waits is still wanted."""
_STANDS_STILL: Final = timedelta(minutes=5)
"""A file of which nothing is done for so long goes back to the queue: one that waits must not keep others out."""
_AT_ONCE_OF_STORE: Final = 4
"""Files of a store that is embedded anew."""


class Ingester:
    """Takes in files until it is stopped; what it has not ended goes on elsewhere."""

    def __init__(
        self, core: Link, means: Means, *, telemetry: Telemetry | None = None, later: timedelta = _LATER
    ) -> None:
        """Take work over ``core``; what cannot be done yet is tried again ``later``."""
        self._later = later
        self._faults = Counter[int]()
        """How often the work of a sequence came to grief here, by no fault of the bus."""
        self._telemetry = telemetry or Telemetry.off()
        self._means = means
        self._queue = WorkQueue(core, STORES, INGESTERS, self._take, window=2 * means.settings.files_at_once)
        self._room = asyncio.Semaphore(means.settings.files_at_once)
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to take files."""
        await self._queue.start()

    async def stop(self) -> None:
        """Take none any more, and give back those that are not in."""
        await self._queue.stop(self._running)

    def _take(self, work: Work) -> None:
        try:
            key, event = parse_store(work.subject), decode_store_event(work.data)
        except NewerEvent as error:
            # For a process that can read it.
            log.error("on %s stands something of a newer version: %s", work.subject, error)
            work.hand_back(_NEWER)
            return
        except StreamsError as error:
            log.error("what stands on %s is nothing of a store: %s", work.subject, error)
            work.done()
            return
        task = asyncio.create_task(self._handle(work, key, event), name=f"{key.store}-{work.sequence}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _handle(self, work: Work, key: StoreKey, event: StoreEvent) -> None:
        async with self._room:
            try:
                await self._do(work, key, event)
            except NotNow as error:
                log.info("store %s of %s waits: %s", key.store, key.account, error)
                work.hand_back(self._later)
            except BusError as error:
                # Nothing of it is lost, and somebody tries again.
                log.warning("store %s of %s goes on in a moment: %s", key.store, key.account, error)
                work.hand_back(_AGAIN)
            except Exception:
                log.exception("store %s of %s stopped halfway", key.store, key.account)
                await self._after_fault(work, key)
            else:
                self._faults.pop(work.sequence, None)
                work.done()

    async def _after_fault(self, work: Work, key: StoreKey) -> None:
        """Have it tried again, but not without end: what a fault of ours is in the way of fails."""
        self._faults[work.sequence] += 1
        if self._faults[work.sequence] < _MOST_FAULTS:
            work.hand_back(self._later)
            return
        try:
            await self._give_up(key, work.sequence)
        except BusError as error:
            log.warning("store %s of %s cannot be written now: %s", key.store, key.account, error)
            work.hand_back(_AGAIN)
        else:
            del self._faults[work.sequence]
            work.done()

    async def _give_up(self, key: StoreKey, generation: int) -> None:
        standing = await self._means.stores.find(key)
        message = "The file cannot be taken in: the log of the retrieval process says why."
        for file in () if standing is None else standing.state.awaited(generation):
            fault = StoreFileFailed(
                at_ms=now_ms(), file=file.id, generation=generation, code="ingestion_failed", message=message
            )
            await self._means.stores.note(key, lambda state, fault=fault: _still(state, fault))

    async def _do(self, work: Work, key: StoreKey, event: StoreEvent) -> None:
        match event:
            case StoreFileAdded() | StoreReembedding():
                await self._take_in(work, key)
            case StoreFileIndexed() | StoreFileFailed() | StoreFileRemoved():
                await self._sweep(key, store_subjects.passages_of_file(key, Token(event.file)))
            case StoreClosed() | StoreExpired() | StoreBatchCancelled():
                await self._sweep(key, store_subjects.passages_of_store(key))
            case _:
                # What else happens to a store is for its readers.
                return

    async def _take_in(self, work: Work, key: StoreKey) -> None:
        """Take in all files of which this event has asked for a generation: one, or those of a store."""
        standing = await self._means.stores.find(key)
        files = () if standing is None else standing.state.awaited(work.sequence)
        room = asyncio.Semaphore(_AT_ONCE_OF_STORE)

        async def take_in(file: StoreFile) -> None:
            async with room:
                intake = Intake(self._means, key, file, work.sequence, asked_at_ms=work.stored_at_ms)
                await self._while_wanted(intake, key, file, work.sequence)
                await self._sweep(key, store_subjects.passages_of_file(key, Token(file.id)))
                await self._count(key, file, work.sequence)

        # One that has to wait keeps none of the others back.
        ends = await asyncio.gather(*map(take_in, files), return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end

    async def _count(self, key: StoreKey, file: StoreFile, generation: int) -> None:
        """Tell the metrics how a file has ended."""
        standing = await self._means.stores.find(key)
        known = None if standing is None else standing.state.files.get(file.id)
        status = "removed" if known is None or known.wanted != generation else known.status
        code = "" if known is None or known.fault is None else known.fault.code
        self._telemetry.add(FILES_TAKEN_IN, 1, {ATTRIBUTE_OUTCOME: code or status})

    async def _while_wanted(self, intake: Intake, key: StoreKey, file: StoreFile, generation: int) -> None:
        taking = asyncio.create_task(intake.run())
        try:
            while not taking.done():
                await asyncio.wait((taking,), timeout=_LOOK_S)
                if taking.done():
                    break
                standing = await self._means.stores.find(key)
                if standing is None or not standing.state.awaits(file.id, generation):
                    return
                if asyncio.get_running_loop().time() - intake.moved_at_s > _STANDS_STILL.total_seconds():
                    raise NotNow(f"nothing comes of {file.id} now")
            await taking
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    async def _sweep(self, key: StoreKey, subject_filter: str) -> None:
        """Delete passages of which nothing can come any more."""
        standing = await self._means.stores.find(key)
        state = None if standing is None else standing.state
        try:
            await self._means.passages.sweep(subject_filter, lambda held: state is not None and _has_use(state, held))
        except BusError as error:
            raise NotNow(f"passages that nobody wants are still there: {error}") from error


def _still(state: StoreState, fault: StoreFileFailed) -> StoreFileFailed | None:
    return fault if state.awaits(fault.file, fault.generation) else None


def _has_use(state: StoreState, key: PassagesKey) -> bool:
    return state.counts(key.file, key.generation) or state.awaits(key.file, key.generation)
