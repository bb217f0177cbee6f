"""Taking files into a vector store: each is an event of the store, and what becomes of it the next ones say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from gateway.files.handlers import unknown_file
from gateway.http.vector_stores.request import attributes_of, chunking_of
from mesh.files.store import parse_file_id
from streams.clock import now_ms
from streams.stores.events import StoreFileAdded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.http.vector_stores.request import StoreFileRequest
    from gateway.http.vector_stores.shelf import Shelf
    from gateway.retrieval.store_log import Standing
    from mesh.files.store import FileStore
    from streams.stores.events import Attribute, Chunking
    from streams.stores.subjects import StoreKey
    from streams.tokens import Token

_AT_ONCE = 16


class Wanted(NamedTuple):
    """A file of the account that is to be taken in, and how."""

    file: Token
    name: str
    attributes: tuple[Attribute, ...]
    chunking: Chunking | None


class Adding:
    """Finds files of an account, and adds them to its stores."""

    def __init__(self, shelf: Shelf, files: FileStore) -> None:
        """Take files out of ``files``."""
        self._shelf = shelf
        self._files = files

    async def find(self, account: Token, asked: Sequence[StoreFileRequest]) -> list[Wanted]:
        """Look up all files before any is added.

        Raises:
            ApiError: 404, if one is none of the account's; 400, if one is to be split in a way that makes no sense.
            BusError: if that cannot be known now.
        """
        room = asyncio.Semaphore(_AT_ONCE)

        async def look(one: StoreFileRequest) -> Wanted:
            async with room:
                return await self._find(account, one)

        return await asyncio.gather(*map(look, asked))

    async def add(self, key: StoreKey, event: StoreFileAdded) -> Standing:
        """Add one file to a store; returns how the store stands then.

        Raises:
            ApiError: 404, if the store is no more.
            BusError: if it cannot be stored.
        """
        return await self._shelf.note(key, lambda _: event)

    async def _find(self, account: Token, asked: StoreFileRequest) -> Wanted:
        file = parse_file_id(asked.file_id)
        stored = None if file is None else await self._files.find(account, file)
        if file is None or stored is None:
            raise unknown_file(asked.file_id)
        return Wanted(file, stored.event.name, attributes_of(asked.attributes), chunking_of(asked.chunking_strategy))


def added(wanted: Wanted, *, key_id: str | None, batch: str | None = None) -> StoreFileAdded:
    """That a file is to be found in a store."""
    return StoreFileAdded(
        at_ms=now_ms(),
        file=wanted.file,
        filename=wanted.name,
        chunking=wanted.chunking,
        attributes=wanted.attributes,
        batch=batch,
        key_id=key_id,
    )
