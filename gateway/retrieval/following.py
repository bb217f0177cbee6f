"""Keeping an index as STORES and PASSAGES say: it is told nothing, and can be thrown away.

Each copy reads STORES whole when it starts, asks its index what it holds, and mends the difference; from then on it
does the same for each store in which something has happened. So there is no position that could be wrong: what was half
added when a process died, or was removed while it was away, is found by comparing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.errors import GatewayError
from gateway.retrieval.errors import IndexUnavailable, WrongVectors
from gateway.retrieval.index.index import Origin, shelf_name
from gateway.retrieval.passage_log import PassageLog
from mesh.errors import BusError
from mesh.history.stream_facts import last_message
from mesh.history.tail import StreamTail
from streams.codec import decode_store_event
from streams.errors import StreamsError
from streams.stores import subjects as store_subjects
from streams.stores.events import StoreOpened
from streams.stores.fold import StoreState
from streams.stores.subjects import StoreKey, parse_store
from streams.tokens import Token
from streams.topology import STORES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.retrieval.index.index import Index
    from mesh.bus.link import Link
    from streams.stores.events import StoreFileIndexed

log = logging.getLogger(__name__)

_ALL_STORES: Final = "stores.*.*"
_AGAIN_S: Final = 2.0
_PATIENCE_S: Final = 10.0
"""How long a search waits for what was added before it."""
_SWEEP_S: Final = 600.0
"""How often it is looked for stores that are gone without a word: their account was erased."""


class Shown(NamedTuple):
    """What of a store is in the index: the files that can be found, by shelf and origin, up to an event of STORES."""

    sequence: int
    shelves: Mapping[str, str]
    """The model of each shelf."""
    origins: Mapping[Origin, str]
    """The shelf of each origin."""


class IndexFollower:
    """Follows all stores for one index."""

    def __init__(self, core: Link, index: Index, *, is_anew: bool = False) -> None:
        """Read through ``core`` and keep ``index``, which whoever made it closes; ``is_anew``: empty it first."""
        self._core = core
        self._is_anew = is_anew
        self._index = index
        self._passages = PassageLog(core)
        self._states: dict[StoreKey, StoreState] = {}
        self._sequences: dict[StoreKey, int] = {}
        self._held: dict[str, dict[Origin, int]] = {}
        self._shown: dict[StoreKey, Shown] = {}
        self._waiting: dict[StoreKey, None] = {}
        self._has_work = asyncio.Event()
        self._progress = asyncio.Condition()
        self._tail = StreamTail(core, STORES, _ALL_STORES, self._on_event)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Bring the index to where STORES is, which takes minutes where it is new, then go on in the background.

        Raises:
            BusError: if the streams cannot be read.
            GatewayError: if the index cannot be used.
        """
        # Asked before STORES is read: whatever is there by now has its event there.
        for shelf in await self._index.shelves():
            if self._is_anew:
                await self._index.drop(shelf)
            else:
                self._held[shelf] = dict(await self._index.held(shelf))
        await self._tail.start()
        await self._drop_strangers()
        for key in tuple(self._waiting):
            await self._settle(key)
        self._tasks = [asyncio.create_task(self._run(), name="index"), asyncio.create_task(self._sweep())]

    async def stop(self) -> None:
        """Follow no more."""
        await self._tail.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def find(self, key: StoreKey) -> tuple[StoreState, Shown] | None:
        """Return a store as it stands, when the index shows all that has happened to it by now; None: there is none.

        Raises:
            BusError: if the streams cannot be read.
            IndexUnavailable: if the index is far behind.
        """
        newest = await last_message(self._core, STORES, store_subjects.store(key))
        if newest is None:
            self._forget(key)
            return None
        await self._tail.reach(newest.sequence)
        try:
            async with asyncio.timeout(_PATIENCE_S), self._progress:
                await self._progress.wait_for(lambda: self._is_shown(key, newest.sequence))
        except TimeoutError as error:
            raise IndexUnavailable("the index is behind what was added to the store: ask again in a moment") from error
        state, shown = self._states.get(key), self._shown.get(key)
        return None if state is None or shown is None or state.is_closed else (state, shown)

    def due(self, at_ms: int) -> list[StoreKey]:
        """Return the stores whose time is over at this time, and nobody has said so."""
        return [key for key, state in self._states.items() if state.is_due(at_ms)]

    def _is_shown(self, key: StoreKey, sequence: int) -> bool:
        shown = self._shown.get(key)
        return key not in self._states or (shown is not None and shown.sequence >= sequence)

    def _on_event(self, sequence: int, subject: str, data: bytes) -> None:
        try:
            key, event = parse_store(subject), decode_store_event(data)
        except StreamsError as error:
            log.error("event %d of %s cannot be used: %s", sequence, STORES, error)
            return
        state = self._states.get(key)
        if state is not None:
            state.apply(sequence, event)
        elif isinstance(event, StoreOpened):
            self._states[key] = StoreState(event)
        else:
            return
        self._sequences[key] = sequence
        self._wake(key)

    def _wake(self, key: StoreKey) -> None:
        self._waiting[key] = None
        self._has_work.set()

    def _forget(self, key: StoreKey) -> None:
        if self._states.pop(key, None) is not None:
            self._wake(key)

    async def _run(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            for key in tuple(self._waiting):
                try:
                    await self._settle(key)
                except (BusError, GatewayError) as error:
                    log.warning("the index of store %s cannot be brought up to date now: %s", key.store, error)
                    await asyncio.sleep(_AGAIN_S)
                    self._wake(key)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            for key in tuple(self._states):
                with contextlib.suppress(BusError):
                    if await last_message(self._core, STORES, store_subjects.store(key)) is None:
                        self._forget(key)

    async def _drop_strangers(self) -> None:
        """Drop shelves of stores that are not in STORES: erased while nobody followed."""
        stores = {_prefix(key) for key in self._states}
        for shelf in tuple(self._held):
            if f"{shelf.rpartition('.')[0]}." not in stores:
                await self._drop(shelf)

    async def _settle(self, key: StoreKey) -> None:
        """Mend what the index has of one store."""
        self._waiting.pop(key, None)
        sequence, wanted = self._sequences.get(key, 0), self._wanted(key)
        models = {shelf_name(key, indexed.model): indexed.model for indexed in wanted.values()}
        for origin, indexed in wanted.items():
            shelf = shelf_name(key, indexed.model)
            if self._held.get(shelf, {}).get(origin) != indexed.passages:
                await self._add(key, shelf, origin, indexed)
        if key in self._states:
            origins = {origin: shelf_name(key, indexed.model) for origin, indexed in wanted.items()}
            self._shown[key] = Shown(sequence, models, origins)
        else:
            self._shown.pop(key, None)
        async with self._progress:
            self._progress.notify_all()
        # What is wanted no more is left out by whoever searches, from this moment on.
        for shelf in [shelf for shelf in self._held if shelf.startswith(_prefix(key))]:
            unwanted = self._held[shelf].keys() - wanted.keys()
            if shelf not in models:
                await self._drop(shelf)
            elif unwanted:
                await self._index.remove(shelf, unwanted)
                self._held[shelf] = {
                    origin: self._held[shelf][origin] for origin in self._held[shelf].keys() - unwanted
                }

    def _wanted(self, key: StoreKey) -> dict[Origin, StoreFileIndexed]:
        state = self._states.get(key)
        if state is None or state.is_closed:
            return {}
        found = (file.indexed for file in state.files.values())
        return {Origin(Token(one.file), one.generation): one for one in found if one is not None and one.passages}

    async def _add(self, key: StoreKey, shelf: str, origin: Origin, indexed: StoreFileIndexed) -> None:
        try:
            count = await self._read_into(key, shelf, origin)
        except (WrongVectors, StreamsError) as error:
            # Nothing will mend it but taking the file in anew; or, where a newer version wrote it, an upgrade.
            log.error("file %s cannot be found: %s", origin.file, error)
            count = indexed.passages
        if count != indexed.passages:
            # Deleted meanwhile: an event says so in a moment. Else PASSAGES has lost some, and what is left is found.
            log.warning("file %s has %d passages, and %d of them are left", origin.file, indexed.passages, count)
        self._held.setdefault(shelf, {})[origin] = indexed.passages

    async def _read_into(self, key: StoreKey, shelf: str, origin: Origin) -> int:
        """Add a file's passages; returns how many there are."""
        count = 0
        every = store_subjects.passages_of_generation(key, origin.file, origin.generation)
        for part in await self._passages.held(every):
            batch = await self._passages.get(part)
            if batch is not None:
                await self._index.add(shelf, origin, batch.passages)
                count += len(batch.passages)
        return count

    async def _drop(self, shelf: str) -> None:
        await self._index.drop(shelf)
        self._held.pop(shelf, None)


def _prefix(key: StoreKey) -> str:
    return f"{key.account}.{key.store}."
