"""The vector stores of accounts, as a gateway's handlers find and use them: what is another account's is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.http.errors import ApiError
from gateway.retrieval.errors import StoreOver
from gateway.retrieval.store_log import StoreLog
from streams.clock import now_ms
from streams.errors import StreamsError
from streams.stores.events import StoreChanged, StoreFileRemoved
from streams.stores.subjects import StoreKey
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.retrieval.store_log import Standing
    from mesh.bus.link import Link
    from streams.stores.events import StoreEvent
    from streams.stores.fold import StoreState
    from streams.tokens import Token

_USED_EVERY_MS: Final = 3600 * 1000
"""How often it is noted at most that a store is used, which puts off its end."""


class Shelf:
    """All vector stores, over a connection in CORE."""

    def __init__(self, core: Link) -> None:
        """Use ``core``."""
        self.log = StoreLog(core)

    async def get(self, account: Token, name: str) -> Standing:
        """Return a store of the account.

        Raises:
            ApiError: 404, if the account has none of this name.
            BusError: if it cannot be read.
        """
        standing = await self.log.find(_key(account, name))
        if standing is None or standing.state.is_closed:
            raise unknown_store(name)
        return standing

    async def use(self, account: Token, name: str) -> Standing:
        """Return a store of the account to be searched or added to.

        Raises:
            ApiError: 404, if the account has none of this name; 400, if its time is over.
            BusError: if it cannot be read.
        """
        standing = await self.get(account, name)
        at_ms = now_ms()
        if standing.state.is_over(at_ms):
            raise _expired(name)
        if standing.state.expires_at_ms is None or at_ms - standing.state.used_at_ms < _USED_EVERY_MS:
            return standing
        return await self.note(standing.key, lambda _: StoreChanged(at_ms=now_ms()))

    async def note(self, key: StoreKey, decide: Callable[[StoreState], StoreEvent | None]) -> Standing:
        """Store what ``decide`` makes of a store; returns how it stands then.

        Raises:
            ApiError: 404, if it is no more; 400, if its time is over and this cannot happen to it any more.
            BusError: if it cannot be stored.
        """
        try:
            standing = await self.log.note(key, decide)
        except StoreOver as error:
            raise _expired(key.store) from error
        if standing is None:
            raise unknown_store(key.store)
        return standing

    async def forget_file(self, account: Token, file: Token) -> None:
        """Remove a file from all stores of an account, before it is deleted itself.

        Raises:
            BusError: if it cannot be removed from one: then it can be tried again.
        """
        for name in await self.log.list_all(account):
            await self.log.note(StoreKey(account, name), lambda state: _removal(state, file))


def unknown_store(name: str) -> ApiError:
    """No such store is the account's."""
    message = f"Vector store with id '{name[:100]}' not found."
    return ApiError(404, message, code="vector_store_not_found", param="vector_store_id")


def _expired(name: str) -> ApiError:
    return ApiError(400, f"The vector store {name[:100]} has expired.", code="vector_store_expired")


def _key(account: Token, name: str) -> StoreKey:
    try:
        return StoreKey(account, token(name))
    except StreamsError as error:
        raise unknown_store(name) from error


def _removal(state: StoreState, file: Token) -> StoreFileRemoved | None:
    return StoreFileRemoved(at_ms=now_ms(), file=file) if file in state.files else None
