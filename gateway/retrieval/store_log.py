"""STORES as services hold it: one fenced chain of events for each vector store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.bus.appends import Fence
from mesh.errors import BusError, FenceMismatch
from mesh.history.held_messages import messages_of
from mesh.history.stream_facts import last_message, last_messages
from streams import store_subjects
from streams.codec import decode_store_event, encode
from streams.store_events import StoreOpened
from streams.store_subjects import StoreKey, parse_store
from streams.stores import StoreState
from streams.task_id import new_task_id
from streams.tokens import Token
from streams.topology import STORES

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.link import Link
    from streams.store_events import StoreEvent

MOST_LISTED: Final = 1000
"""Stores of an account."""

_AT_ONCE: Final = 256
_REMEMBERED: Final = 256
_TRIES: Final = 8


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
        """Return the names of an account's stores, closed ones too, the newest first.

        Raises:
            BusError: if they cannot be read.
        """
        filters = (store_subjects.stores_of(account),)
        messages = await last_messages(self._core, STORES, filters, most=MOST_LISTED)
        return tuple(sorted((parse_store(message.subject).store for message in messages), reverse=True))

    async def open(self, account: Token, event: StoreOpened) -> Standing:
        """Store a new one; returns how it stands.

        Raises:
            BusError: if it cannot be stored.
        """
        key = StoreKey(account, new_store_id())
        return await self._append(key, 0, event)

    async def note(self, key: StoreKey, decide: Callable[[StoreState], StoreEvent | None]) -> Standing | None:
        """Store what ``decide`` makes of a store as it stands, unless that is None; returns how it stands then.

        Raises:
            BusError: if it cannot be stored.
        """
        for _ in range(_TRIES):
            standing = await self.find(key)
            event = None if standing is None or standing.state.is_closed else decide(standing.state)
            if standing is None or event is None:
                return standing
            try:
                return await self._append(key, standing.sequence, event)
            except FenceMismatch:
                continue
        raise BusError(f"{store_subjects.store(key)} changes too fast: try again")

    async def _append(self, key: StoreKey, after: int, event: StoreEvent) -> Standing:
        subject = store_subjects.store(key)
        sequence = await self._core.append(subject, encode(event), fence=Fence(subject, after))
        self._apply(key, sequence, event)
        return self._known[key]

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
