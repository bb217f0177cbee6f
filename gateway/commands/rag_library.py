"""One vector store as ``ig3 rag`` uses it: it has a name, and holds each file under its path once."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from gateway.errors import GatewayError
from gateway.retrieval.store_log import StoreLog
from mesh.files.store import MOST_FILES, FileStore
from streams.clock import now_ms
from streams.stores.events import StoreFileAdded, StoreFileRemoved, StoreOpened, StoreReembedding
from streams.stores.subjects import StoreKey
from streams.tokens import Token, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import BufferedReader
    from pathlib import Path

    from gateway.retrieval.store_log import Standing
    from mesh.bus.link import Link
    from streams.stores.fold import StoreFile, StoreState

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one file."""
_PIECE_BYTES: Final = 256 * 1024
_LOOK_EVERY_S: Final = 0.2

Outcome = Literal["added", "replaced", "unchanged"]


class NotTakenIn(GatewayError):
    """A file could not be taken in; nothing of it stays."""


class UnknownStore(GatewayError):
    """There is no such store, or no such file in it."""


class Brought(NamedTuple):
    """A file that was brought into a store, and the one of the same name that it takes the place of."""

    name: str
    file: Token | None
    """None: what is there is the same."""
    before: Token | None


class Library:
    """Files of one account, over a connection in CORE."""

    def __init__(self, core: Link, account: Token) -> None:
        """Use ``core``."""
        self._log = StoreLog(core)
        self._files = FileStore(core)
        self._account = account

    async def stores(self) -> list[Standing]:
        """Return the account's stores, the newest first.

        Raises:
            BusError: if they cannot be read.
        """
        names = await self._log.list_all(self._account)
        found = [await self._log.find(StoreKey(self._account, name)) for name in names]
        return [one for one in found if one is not None and not one.state.is_closed]

    async def find(self, name: str) -> Standing | None:
        """Return the store of that id, or the newest of that name: one that has expired where no other is called so.

        Raises:
            BusError: if it cannot be read.
        """
        at_ms = now_ms()
        called = [one for one in await self.stores() if name in (one.key.store, one.state.name)]
        return min(called, key=lambda one: one.state.is_over(at_ms), default=None)

    async def find_open(self, name: str) -> Standing | None:
        """Return the store that files of that name go to; None if there is none, or those of that name have expired.

        Raises:
            BusError: if it cannot be read.
        """
        found = await self.find(name)
        is_replaced = found is not None and found.key.store != name and found.state.is_over(now_ms())
        return None if is_replaced else found

    async def get(self, name: str) -> Standing:
        """Return the store of that id, or the newest of that name, as ``find`` does.

        Raises:
            UnknownStore: if there is none.
            BusError: if it cannot be read.
        """
        standing = await self.find(name)
        if standing is None:
            raise UnknownStore(f"there is no store {name!r}: `ig3 rag list` shows which there are")
        return standing

    async def open(self, name: str, model: str) -> Standing:
        """Make a store whose vectors ``model`` makes.

        Raises:
            TooManyStores: if the account has as many as it may have.
            BusError: if it cannot be stored.
        """
        return await self._log.open(self._account, StoreOpened(at_ms=now_ms(), model=model, name=name))

    async def bring(self, key: StoreKey, path: Path, name: str) -> Brought:
        """Put a file into a store, unless the same stands there under that name.

        Raises:
            NotTakenIn: if it cannot be read, is too large, the account has too many files, or the store has expired.
            BusError: if it cannot be stored.
        """
        standing = await self._standing(key)
        if standing.state.is_over(now_ms()):
            raise NotTakenIn(f"{name}: the store {key.store} has expired; under its name a new one is made")
        before = next((file for file in standing.state.files.values() if file.filename == name), None)
        if before is not None and before.status == "completed" and await self._is_same(before, path):
            return Brought(name, None, None)
        if len(await self._files.list_all(self._account)) >= MOST_FILES:
            raise NotTakenIn(f"{name}: the account has {MOST_FILES} files, which is the most: remove some first")
        stored = await self._files.put(self._account, name, "assistants", _pieces(path), limit_bytes=MOST_BYTES)
        await self._log.note(key, lambda _: StoreFileAdded(at_ms=now_ms(), file=stored.id, filename=name))
        return Brought(name, token(stored.id), None if before is None else token(before.id))

    async def settle(self, key: StoreKey, brought: Brought) -> Outcome:
        """Wait until a file is taken in; what it takes the place of is removed then.

        Raises:
            NotTakenIn: if it cannot be: then it is removed, and what was there before stays.
            BusError: if the store cannot be read.
        """
        if brought.file is None:
            return "unchanged"
        file = await self._ended(key, brought.file)
        if file is None or file.status != "completed":
            await self._remove(key, brought.file)
            why = "it was removed meanwhile" if file is None or file.fault is None else file.fault.message
            raise NotTakenIn(f"{brought.name}: {why}")
        if brought.before is None:
            return "added"
        await self._remove(key, brought.before)
        return "replaced"

    async def remove(self, key: StoreKey, name: str) -> None:
        """Remove a file from a store by its name or id; it is deleted unless another store has it.

        Raises:
            UnknownStore: if the store has no such file.
            BusError: if it cannot be removed.
        """
        standing = await self._standing(key)
        found = [file for file in standing.state.files.values() if name in (file.id, file.filename)]
        if not found:
            raise UnknownStore(f"the store {standing.state.name or key.store!r} has no file {name!r}")
        for file in found:
            await self._remove(key, token(file.id))

    async def embed_anew(self, key: StoreKey, model: str | None) -> StoreState:
        """Have all files of a store taken in anew, by another model or the same, and wait; returns how it stands then.

        What is there is found until the new is whole; a file that comes to nothing keeps what it has.

        Raises:
            UnknownStore: if it is not there, or no more.
            StoreOver: if it has expired.
            BusError: if it cannot be stored.
        """
        await self._log.note(key, lambda state: StoreReembedding(at_ms=now_ms(), model=model or state.model))
        while True:
            state = (await self._standing(key)).state
            if not state.count("in_progress"):
                return state
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _ended(self, key: StoreKey, name: Token) -> StoreFile | None:
        """Wait until it is known what becomes of a file; None: it was removed."""
        while True:
            file = (await self._standing(key)).state.files.get(name)
            if file is None or file.status != "in_progress":
                return file
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _remove(self, key: StoreKey, file: Token) -> None:
        await self._log.note(key, lambda _: StoreFileRemoved(at_ms=now_ms(), file=file))
        if not any(file in standing.state.files for standing in await self.stores()):
            await self._files.delete(self._account, file)

    async def _standing(self, key: StoreKey) -> Standing:
        standing = await self._log.find(key)
        if standing is None or standing.state.is_closed:
            raise UnknownStore(f"the store {key.store} is there no more")
        return standing

    async def _is_same(self, before: StoreFile, path: Path) -> bool:
        stored = await self._files.find(self._account, token(before.id))
        return stored is not None and stored.event.sha256 == await asyncio.to_thread(_digest, path)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with _opened(path) as stream:
        while piece := await asyncio.to_thread(stream.read, _PIECE_BYTES):
            yield piece


def _digest(path: Path) -> str:
    with _opened(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise NotTakenIn(f"{path} cannot be read: {error.strerror}") from error
