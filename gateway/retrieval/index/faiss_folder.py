"""Faiss inside this process, a folder for each shelf: vectors in memory, and on the disk what they are read from.

Below the folder, ``vectors`` has a file of SQLite for each shelf, and ``words`` a shelf of Qdrant's engine without
vectors, for BM25. What only one of the two has, after a crash between them, counts as not held, and is added anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.retrieval.errors import IndexUnavailable, WrongVectors
from gateway.retrieval.index.faiss_vectors import FaissVectors, load_faiss, packed
from gateway.retrieval.index.folder_lock import lock_folder
from gateway.retrieval.index.index import in_order
from gateway.retrieval.index.passage_table import PassageTable
from gateway.retrieval.index.qdrant_folder import EDGE_CONFIG, QdrantFolder
from streams.tasks.vectors import FLOAT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path
    from typing import ParamSpec, TypeVar

    from gateway.retrieval.index.index import Match, Origin
    from gateway.retrieval.index.words import Words
    from streams.stores.passages import Passage

    P = ParamSpec("P")
    T = TypeVar("T")

log = logging.getLogger(__name__)

_VECTORS: Final = "vectors"
_WORDS: Final = "words"
_TABLE: Final = "passages.sqlite"
_MOST_OPEN: Final = 128
_MOST_BYTES: Final = 1024 * 1024 * 1024
"""Of vectors in memory; one shelf may have more."""


class _Shelf(NamedTuple):
    table: PassageTable
    vectors: FaissVectors


class FaissFolder:
    """An index in a folder, of which this process is the only user."""

    def __init__(self, folder: Path, words: Words) -> None:
        """Keep shelves below ``folder``; those that `QdrantFolder` has left there are removed.

        Raises:
            ImportError: if the package faiss-cpu is not installed.
            FolderTaken: if another process uses it.
            IndexUnavailable: if it cannot be written.
        """
        self._library = load_faiss()
        self._lock = lock_folder(folder)
        for left in folder.glob(f"*/{EDGE_CONFIG}"):
            shutil.rmtree(left.parent, ignore_errors=True)
        self._folder = folder / _VECTORS
        self._words = QdrantFolder(folder / _WORDS, words, has_vectors=False)
        self._open: dict[str, _Shelf] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index-vectors")

    async def shelves(self) -> frozenset[str]:
        """Return the names of all shelves; see `Index`."""
        return await self._words.shelves() | await self._do(self._shelves)

    async def add(self, shelf: str, origin: Origin, passages: Sequence[Passage]) -> None:
        """Put passages on a shelf; see `Index`."""
        if passages:
            await self._do(self._check, shelf, [passage.vector for passage in passages])
            await self._words.add(shelf, origin, passages)
            await self._do(self._add, shelf, origin, passages)

    async def remove(self, shelf: str, origins: Collection[Origin]) -> None:
        """Take all passages of these from a shelf; see `Index`."""
        await self._words.remove(shelf, origins)
        await self._do(self._remove, shelf, origins)

    async def drop(self, shelf: str) -> None:
        """Take a shelf away; see `Index`."""
        await self._words.drop(shelf)
        await self._do(self._drop, shelf)

    async def held(self, shelf: str) -> Mapping[Origin, int]:
        """Return what is on a shelf, in both parts of it; a part that is damaged is taken away, and holds nothing."""
        words, vectors = await self._words.held(shelf), await self._do(self._held, shelf)
        return {origin: min(words.get(origin, 0), vectors.get(origin, 0)) for origin in sorted(words.keys() | vectors)}

    async def near(
        self, shelf: str, vector: bytes, limit: int, among: Collection[Origin] | None = None
    ) -> tuple[Match, ...]:
        """Return the passages whose vectors are most like this one; see `Index`."""
        return await self._do(self._near, shelf, vector, limit, among)

    async def worded(
        self, shelf: str, text: str, limit: int, among: Collection[Origin] | None = None
    ) -> tuple[Match, ...]:
        """Return the passages that share the rarest words with a text; see `Index`."""
        return await self._words.worded(shelf, text, limit, among)

    async def aclose(self) -> None:
        """Close all shelves, and let others use the folder."""
        await self._words.aclose()
        await self._do(self._close)
        self._thread.shutdown()
        os.close(self._lock)

    async def _do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def run() -> T:
            try:
                return work(*args, **kwargs)
            except (sqlite3.Error, OSError) as error:
                raise IndexUnavailable(f"the vectors of the index cannot be used: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def _shelves(self) -> frozenset[str]:
        return frozenset(path.name for path in self._folder.iterdir()) if self._folder.exists() else frozenset()

    def _check(self, shelf: str, vectors: Sequence[bytes]) -> None:
        opened = self._shelf(shelf)
        dimensions = len(vectors[0]) // FLOAT_BYTES if opened is None else opened.table.dimensions
        wrong = {len(vector) // FLOAT_BYTES for vector in vectors} - {dimensions}
        if wrong:
            raise WrongVectors(f"shelf {shelf} has vectors of {dimensions} numbers, and these have {min(wrong)}")

    def _add(self, shelf: str, origin: Origin, passages: Sequence[Passage]) -> None:
        opened = self._shelf(shelf) or self._create(shelf, len(passages[0].vector) // FLOAT_BYTES)
        # The last of one number counts, as in the table.
        passages = tuple({passage.number: passage for passage in passages}.values())
        vectors = [packed(passage.vector) for passage in passages]
        opened.vectors.put(opened.table.put(origin, passages, vectors), vectors)

    def _remove(self, shelf: str, origins: Collection[Origin]) -> None:
        opened = self._shelf(shelf)
        if opened is not None and origins:
            ids = opened.table.ids_of(origins)
            opened.table.delete(origins)
            opened.vectors.remove(ids)

    def _drop(self, shelf: str) -> None:
        opened = self._open.pop(shelf, None)
        if opened is not None:
            opened.table.close()
        shutil.rmtree(self._folder / shelf, ignore_errors=True)

    def _held(self, shelf: str) -> Mapping[Origin, int]:
        try:
            opened = self._shelf(shelf)
            return {} if opened is None else opened.table.counts()
        except (sqlite3.DatabaseError, ValueError) as error:
            log.warning("the vectors of shelf %s cannot be used: %s; they are built anew from the log", shelf, error)
            self._drop(shelf)
            return {}

    def _near(self, shelf: str, vector: bytes, limit: int, among: Collection[Origin] | None) -> tuple[Match, ...]:
        opened = self._shelf(shelf)
        if opened is None:
            return ()
        self._check(shelf, [vector])
        ids = None if among is None else opened.table.ids_of(among)
        return in_order(opened.table.matches(opened.vectors.near(vector, limit, ids)))

    def _shelf(self, shelf: str) -> _Shelf | None:
        opened = self._open.pop(shelf, None)
        if opened is None:
            path = self._folder / shelf / _TABLE
            if not path.exists():
                return None
            opened = _read(self._library, PassageTable(path))
        self._remember(shelf, opened)
        return opened

    def _create(self, shelf: str, dimensions: int) -> _Shelf:
        folder = self._folder / shelf
        folder.mkdir(parents=True, exist_ok=True)
        opened = _read(self._library, PassageTable(folder / _TABLE, dimensions))
        self._remember(shelf, opened)
        return opened

    def _remember(self, shelf: str, opened: _Shelf) -> None:
        self._open[shelf] = opened
        while len(self._open) > _MOST_OPEN or (len(self._open) > 1 and self._size_bytes() > _MOST_BYTES):
            self._open.pop(next(iter(self._open))).table.close()

    def _size_bytes(self) -> int:
        return sum(each.vectors.size_bytes for each in self._open.values())

    def _close(self) -> None:
        while self._open:
            self._open.popitem()[1].table.close()


def _read(library: Any, table: PassageTable) -> _Shelf:
    try:
        vectors = FaissVectors(library, table.dimensions)
        vectors.fill(table.rows())
    except BaseException:
        table.close()
        raise
    return _Shelf(table, vectors)
