"""Qdrant's engine inside this process (Qdrant Edge), a folder for each shelf.

Vectors have 16 bits a number and all of a shelf are compared, so nothing is missed; the time grows with the shelf.
The engine holds Python's lock while it works, so all is done by one thread, one thing at a time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import qdrant_edge as edge

from gateway.retrieval.errors import IndexUnavailable, WrongVectors
from gateway.retrieval.index.folder_lock import lock_folder
from gateway.retrieval.index.index import Match, in_order
from gateway.retrieval.index.points import (
    MEANING,
    ORIGIN,
    WORDS,
    match_of,
    origin_text,
    payload_of,
    point_id,
    read_origin,
)
from streams.tasks.vectors import FLOAT_BYTES, numbers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path
    from typing import ParamSpec, TypeVar

    from gateway.retrieval.index.index import Origin
    from gateway.retrieval.index.words import Words
    from streams.stores.passages import Passage

    P = ParamSpec("P")
    T = TypeVar("T")

log = logging.getLogger(__name__)

_OPEN: Final = 128
"""Shelves that are open at once; each takes a third of a megabyte and a thread."""
_AT_ONCE: Final = 128
"""Passages that are added in one go: some milliseconds."""
_ALL: Final = 10_000_000
_NO_INDEX_KB: Final = 1_000_000_000
EDGE_CONFIG: Final = "edge_config.json"
"""A file in the folder of each shelf."""


class QdrantFolder:
    """An index in a folder, of which this process is the only user."""

    def __init__(self, folder: Path, words: Words, *, has_vectors: bool = True) -> None:
        """Keep shelves below ``folder``; without vectors they are searched by words alone, and `near` is an error.

        Raises:
            FolderTaken: if another process uses it.
            IndexUnavailable: if it cannot be written.
        """
        self._folder = folder
        self._words = words
        self._has_vectors = has_vectors
        self._lock = lock_folder(folder)
        self._open: dict[str, edge.EdgeShard] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index")

    async def shelves(self) -> frozenset[str]:
        """Return the names of all shelves; see `Index`."""
        return await self._do(self._shelves)

    async def add(self, shelf: str, origin: Origin, passages: Sequence[Passage]) -> None:
        """Put passages on a shelf; see `Index`."""
        for first in range(0, len(passages), _AT_ONCE):
            await self._do(self._add, shelf, origin, passages[first : first + _AT_ONCE])
        if passages:
            await self._do(self._flush, shelf)

    async def remove(self, shelf: str, origins: Collection[Origin]) -> None:
        """Take all passages of these from a shelf; see `Index`."""
        if origins:
            await self._do(self._remove, shelf, origins)

    async def drop(self, shelf: str) -> None:
        """Take a shelf away; see `Index`."""
        await self._do(self._drop, shelf)

    async def held(self, shelf: str) -> Mapping[Origin, int]:
        """Return what is on a shelf; one that is damaged is taken away, and holds nothing."""
        return await self._do(self._held, shelf)

    async def near(
        self, shelf: str, vector: bytes, limit: int, among: Collection[Origin] | None = None
    ) -> tuple[Match, ...]:
        """Return the passages whose vectors are most like this one; see `Index`."""
        return await self._do(self._near, shelf, vector, limit, among)

    async def worded(
        self, shelf: str, text: str, limit: int, among: Collection[Origin] | None = None
    ) -> tuple[Match, ...]:
        """Return the passages that share the rarest words with a text; see `Index`."""
        return await self._do(self._worded, shelf, text, limit, among)

    async def aclose(self) -> None:
        """Close all shelves, and let others use the folder."""
        await self._do(self._close)
        self._thread.shutdown()
        os.close(self._lock)

    async def _do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def run() -> T:
            return work(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def _shelves(self) -> frozenset[str]:
        return frozenset(path.name for path in self._folder.iterdir() if path.is_dir())

    def _add(self, shelf: str, origin: Origin, passages: Sequence[Passage]) -> None:
        shard = self._shard(shelf) or self._create(shelf, self._dimensions(passages))
        points = [self._point(origin, passage) for passage in passages]
        _translated(shelf, lambda: shard.update(edge.UpdateOperation.upsert_points(points)))

    def _dimensions(self, passages: Sequence[Passage]) -> int | None:
        return len(passages[0].vector) // FLOAT_BYTES if self._has_vectors else None

    def _point(self, origin: Origin, passage: Passage) -> edge.Point:
        vectors: dict[str, edge.NamedVector] = {}
        if self._has_vectors:
            vectors[MEANING] = list(numbers_of(passage.vector))
        words = self._words.of_passage(passage.text)
        if words.indices:
            vectors[WORDS] = edge.SparseVector(words.indices, words.values)
        return edge.Point(point_id(origin, passage.number), vectors, payload_of(origin, passage))

    def _flush(self, shelf: str) -> None:
        shard = self._shard(shelf)
        if shard is not None:
            _translated(shelf, shard.flush)

    def _remove(self, shelf: str, origins: Collection[Origin]) -> None:
        shard = self._shard(shelf)
        if shard is None:
            return

        def remove() -> None:
            shard.update(edge.UpdateOperation.delete_points_by_filter(_of(origins)))
            shard.flush()
            # Only where a fifth of it is gone: it stops all else for a second or two with 100,000 passages.
            shard.optimize()

        _translated(shelf, remove)

    def _drop(self, shelf: str) -> None:
        shard = self._open.pop(shelf, None)
        if shard is not None:
            shard.close()
        shutil.rmtree(self._folder / shelf, ignore_errors=True)

    def _held(self, shelf: str) -> Mapping[Origin, int]:
        request = edge.FacetRequest(ORIGIN, limit=_ALL, exact=True)
        try:
            shard = self._shard(shelf)
            hits = [] if shard is None else _translated(shelf, lambda: shard.facet(request).hits)
        except IndexUnavailable as error:
            log.warning("%s; it is built anew from the log", error)
            self._drop(shelf)
            return {}
        return {read_origin(str(hit.value)): hit.count for hit in hits if hit.count}

    def _near(self, shelf: str, vector: bytes, limit: int, among: Collection[Origin] | None) -> tuple[Match, ...]:
        return self._found(shelf, edge.Query.Nearest(list(numbers_of(vector)), MEANING), limit, among)

    def _worded(self, shelf: str, text: str, limit: int, among: Collection[Origin] | None) -> tuple[Match, ...]:
        words = self._words.of_query(text)
        if not words.indices:
            return ()
        return self._found(shelf, edge.Query.Nearest(edge.SparseVector(*words), WORDS), limit, among)

    def _found(self, shelf: str, query: edge.Query, limit: int, among: Collection[Origin] | None) -> tuple[Match, ...]:
        shard = self._shard(shelf)
        if shard is None or (among is not None and not among):
            return ()
        request = edge.QueryRequest(limit, query=query, filter=None if among is None else _of(among), with_payload=True)
        points = _translated(shelf, lambda: shard.query(request))
        return in_order([match_of(point.payload or {}, point.score) for point in points])

    def _shard(self, shelf: str) -> edge.EdgeShard | None:
        shard = self._open.pop(shelf, None)
        if shard is None:
            folder = self._folder / shelf
            if not (folder / EDGE_CONFIG).exists():
                return None
            shard = _translated(shelf, lambda: edge.EdgeShard.load(str(folder)))
        self._remember(shelf, shard)
        return shard

    def _create(self, shelf: str, dimensions: int | None) -> edge.EdgeShard:
        folder = self._folder / shelf
        # What a crash has left of one that was about to be made.
        shutil.rmtree(folder, ignore_errors=True)

        def create() -> edge.EdgeShard:
            folder.mkdir(parents=True)
            shard = edge.EdgeShard.create(str(folder), _config(dimensions))
            shard.update(edge.UpdateOperation.create_field_index(ORIGIN, edge.PayloadSchemaType.Keyword))
            return shard

        shard = _translated(shelf, create)
        self._remember(shelf, shard)
        return shard

    def _remember(self, shelf: str, shard: edge.EdgeShard) -> None:
        self._open[shelf] = shard
        while len(self._open) > _OPEN:
            self._open.pop(next(iter(self._open))).close()

    def _close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def _config(dimensions: int | None) -> edge.EdgeConfig:
    half = edge.VectorStorageDatatype.Float16
    return edge.EdgeConfig(
        vectors={}
        if dimensions is None
        else {MEANING: edge.EdgeVectorParams(dimensions, edge.Distance.Cosine, datatype=half)},
        sparse_vectors={WORDS: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        # No graph: building one for 100,000 passages stops all else for minutes, and saves four milliseconds a search.
        hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=_NO_INDEX_KB),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=_NO_INDEX_KB, default_segment_number=1),
        max_search_threads=1,
        # What `flush` has not said is safe, the log says again.
        wal_enabled=False,
    )


def _of(origins: Collection[Origin]) -> edge.Filter:
    names = [origin_text(origin) for origin in origins]
    return edge.Filter(must=[edge.FieldCondition(ORIGIN, match=edge.MatchAny(names))])


def _translated(shelf: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except Exception as error:
        # The engine knows one class of errors only.
        if "dimension" in str(error):
            raise WrongVectors(f"shelf {shelf}: {error}") from error
        raise IndexUnavailable(f"shelf {shelf} of the index cannot be used: {error}") from error
