"""STORES as services hold it: one fenced chain of events for each vector store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.retrieval.errors import StoreOver, TooManyStores
from gateway.retrieval.store_names import StoreNames
from mesh.bus.appends import Fence
from mesh.errors import BusError, FenceMismatch
from mesh.history.held_messages import messages_of
from mesh.history.stream_facts import last_message
from streams.clock import now_ms
from streams.codec import decode_store_event, encode
from streams.stores import subjects as store_subjects
from streams.stores.events import StoreExpired, StoreOpened
from streams.stores.fold import StoreState
from streams.stores.subjects import StoreKey
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from streams.topology import STORES

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.link import Link
    from streams.stores.events import StoreEvent

MOST_STORES: Final = 1000
"""Of an account, but for those that were deleted or have expired."""

_AT_ONCE: Final = 256
_REMEMBERED: Final = 256
_TRIES: Final = 8
_OPENING_TRIES: Final = 64
"""Whatever happens to any store of the account meanwhile has it counted again."""
_OPENING_PAUSE_S: Final = 0.01


class Standing(NamedTuple):
    """A store as it stands, which is to be read only, and the last event of its chain."""

    key: StoreKey
    state: StoreState
    sequence: int


class StoreLog:
    """All vector stores, over a connection in CORE. What was read once is remembered, and what is new is added."""

    def __init__(self, core: Link) -> None:
        """Use ``core``."""
        self._core = core
        self._names = StoreNames(core)
        self._known: dict[StoreKey, Standing] = {}

    async def find(self, key: StoreKey) -> Standing | None:
        """Return a store, a closed one too; None if the account has none of this name.

        Raises:
            BusError: if it cannot be read.
        """
        newest = await last_message(self._core, STORES, store_subjects.store(key))
        if newest is None:
            self._known.pop(key, None)
            return None
        while (standing := self._known.get(key)) is None or standing.sequence < newest.sequence:
            first = 1 if standing is None else standing.sequence + 1
            chain = await messages_of(self._core, STORES, store_subjects.store(key), first=first, most=_AT_ONCE)
            if not chain:
                break
            for recorded in chain:
                self._apply(key, recorded.sequence, decode_store_event(recorded.data))
            if self._known.get(key) is None:
                # What is left of the chain of an account that was erased, say.
                break
        return self._known.get(key)

    async def list_all(self, account: Token) -> tuple[Token, ...]:
        """Return the names of an account's stores, but for closed ones, the newest first.

        Raises:
            BusError: if they cannot be read.
        """
        return tuple(sorted(await self._names.there(account), reverse=True))

    async def open(self, account: Token, event: StoreOpened) -> Standing:
        """Store a new one; returns how it stands.

        Raises:
            TooManyStores: if the account has as many as it may have.
            BusError: if it cannot be stored.
        """
        key, family = StoreKey(account, new_store_id()), store_subjects.stores_of(account)
        for _ in range(_OPENING_TRIES):
            # Read before they are counted, so that whatever comes after is refused by it: of two gateways that open
            # the last store, one counts again.
            newest = await last_message(self._core, STORES, family)
            if await self._is_full(account):
                raise TooManyStores(f"The account has {MOST_STORES} vector stores, which is the most: delete some.")
            try:
                return await self._append(key, Fence(family, 0 if newest is None else newest.sequence), event)
            except FenceMismatch:
                await asyncio.sleep(_OPENING_PAUSE_S)
        raise BusError(f"the vector stores of {account} change too fast: try again")

    async def note(self, key: StoreKey, decide: Callable[[StoreState], StoreEvent | None]) -> Standing | None:
        """Store what ``decide`` makes of a store as it stands, unless that is None; returns how it stands then.

        Where the store's time is over and nobody has said so yet, that is stored first.

        Raises:
            StoreOver: if the time of the store is over, and what was decided cannot happen to it any more.
            BusError: if it cannot be stored.
        """
        for _ in range(_TRIES):
            standing = await self.find(key)
            if standing is None or standing.state.is_closed:
                return standing
            is_due = standing.state.is_due(now_ms())
            event = StoreExpired(at_ms=now_ms()) if is_due else decide(standing.state)
            if event is None:
                return standing
            if not standing.state.takes(event):
                raise StoreOver(f"The vector store {key.store} has expired.")
            try:
                standing = await self._append(key, Fence(store_subjects.store(key), standing.sequence), event)
            except FenceMismatch:
                continue
            if not is_due:
                return standing
        raise BusError(f"{store_subjects.store(key)} changes too fast: try again")

    async def _is_full(self, account: Token) -> bool:
        names = await self._names.lasting(account)
        if len(names) < MOST_STORES:
            return False
        # Whether the time of one is over stands in no event until somebody notices.
        found = [await self.find(StoreKey(account, name)) for name in names]
        return sum(one is not None and not one.state.is_over(now_ms()) for one in found) >= MOST_STORES

    async def _append(self, key: StoreKey, fence: Fence, event: StoreEvent) -> Standing:
        sequence = await self._core.append(store_subjects.store(key), encode(event), fence=fence)
        self._apply(key, sequence, event)
        # So many others may have been read meanwhile that this one is remembered no more.
        standing = self._known.get(key) or await self.find(key)
        if standing is None:
            raise BusError(f"{store_subjects.store(key)} was erased in this moment")
        return standing

    def _apply(self, key: StoreKey, sequence: int, event: StoreEvent) -> None:
        standing = self._known.pop(key, None)
        if standing is None and isinstance(event, StoreOpened):
            standing = Standing(key, StoreState(event), sequence)
        elif standing is not None and sequence > standing.sequence:
            # Others may have read the same meanwhile.
            standing.state.apply(sequence, event)
            standing = standing._replace(sequence=sequence)
        if standing is not None:
            self._known[key] = standing
        while len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]


def new_store_id() -> Token:
    """Make the id of a vector store: ids of later ones sort behind those of earlier ones."""
    return Token(f"vs_{new_task_id()}")
