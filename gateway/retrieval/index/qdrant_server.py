"""Qdrant as a server, which several retrieval processes share: a collection for each shelf.

Needs the package ``qdrant-client`` (extra ``rag``), which is imported only where a server is used. Collections of other
names on the same server are left alone.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from gateway.retrieval.errors import IndexUnavailable, WrongVectors
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
from mesh.redaction import hide_secrets
from streams.tasks.vectors import FLOAT_BYTES, numbers_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Mapping, Sequence
    from typing import TypeVar

    from qdrant_client import AsyncQdrantClient, models

    from gateway.retrieval.index.index import Origin
    from gateway.retrieval.index.words import Words
    from streams.stores.passages import Passage

    T = TypeVar("T")

_PREFIX: Final = "ig3."
_AT_ONCE: Final = 128
_ALL: Final = 10_000_000
_TIMEOUT_S: Final = 10


class QdrantServer:
    """An index on a Qdrant server."""

    def __init__(self, client: AsyncQdrantClient, words: Words) -> None:
        """Use ``client``, which is closed with this; ``connect`` makes one."""
        self._client = client
        self._words = words
        self._known: dict[str, int] = {}
        """Dimensions of the collections that are there."""

    @classmethod
    def connect(cls, url: str, api_key: str | None, words: Words) -> QdrantServer:
        """Prepare to ask the server at ``url``.

        Raises:
            ImportError: if the package is not installed.
        """
        from qdrant_client import AsyncQdrantClient

        with warnings.catch_warnings():
            # That a key goes over http:// is the operator's choice: the server may be on this machine.
            warnings.simplefilter("ignore", UserWarning)
            client = AsyncQdrantClient(url=url, api_key=api_key, timeout=_TIMEOUT_S, check_compatibility=False)
        return cls(client, words)

    async def shelves(self) -> frozenset[str]:
        """Return the names of all shelves; see `Index`."""
        answer = await _translated(self._client.get_collections())
        names = (collection.name for collection in answer.collections)
        return frozenset(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))

    async def add(self, shelf: str, origin: Origin, passages: Sequence[Passage]) -> None:
        """Put passages on a shelf; see `Index`."""
        if not passages:
            return
        dimensions = len(passages[0].vector) // FLOAT_BYTES
        if await self._dimensions(shelf) is None:
            await self._create(shelf, dimensions)
        await self._check(shelf, *[passage.vector for passage in passages])
        for first in range(0, len(passages), _AT_ONCE):
            points = [self._point(origin, passage) for passage in passages[first : first + _AT_ONCE]]
            await _translated(self._client.upsert(_PREFIX + shelf, points, wait=True))

    async def remove(self, shelf: str, origins: Collection[Origin]) -> None:
        """Take all passages of these from a shelf; see `Index`."""
        from qdrant_client import models

        if origins and await self._dimensions(shelf) is not None:
            selector = models.FilterSelector(filter=_of(origins))
            await _translated(self._client.delete(_PREFIX + shelf, selector, wait=True))

    async def drop(self, shelf: str) -> None:
        """Take a shelf away; see `Index`."""
        self._known.pop(shelf, None)
        await _translated(self._client.delete_collection(_PREFIX + shelf))

    async def held(self, shelf: str) -> Mapping[Origin, int]:
        """Return what is on a shelf; see `Index`."""
        if await self._dimensions(shelf) is None:
            return {}
        answer = await _translated(self._client.facet(_PREFIX + shelf, ORIGIN, limit=_ALL, exact=True))
        return {read_origin(str(hit.value)): hit.count for hit in answer.hits if hit.count}

    async def near(
        self, shelf: str, vector: bytes, limit: int, among: Collection[Origin] | None = None
    ) -> tuple[Match, ...]:
        """Return the passages whose vectors are most like this one; see `Index`."""
        if await self._dimensions(shelf) is None:
            return ()
        await self._check(shelf, vector)
        return await self._found(shelf, list(numbers_of(vector)), MEANING, limit, among)

    async def worded(
        self, shelf: str, text: str, limit: int, among: Collection[Origin] | None = None
    ) -> tuple[Match, ...]:
        """Return the passages that share the rarest words with a text; see `Index`."""
        from qdrant_client import models

        words = self._words.of_query(text)
        if not words.indices or await self._dimensions(shelf) is None:
            return ()
        query = models.SparseVector(indices=words.indices, values=words.values)
        return await self._found(shelf, query, WORDS, limit, among)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _found(
        self,
        shelf: str,
        query: list[float] | models.SparseVector,
        using: str,
        limit: int,
        among: Collection[Origin] | None,
    ) -> tuple[Match, ...]:
        if among is not None and not among:
            return ()
        wanted = None if among is None else _of(among)
        answer = await _translated(
            self._client.query_points(
                _PREFIX + shelf, query=query, using=using, limit=limit, query_filter=wanted, with_payload=True
            )
        )
        return in_order([match_of(point.payload or {}, point.score) for point in answer.points])

    def _point(self, origin: Origin, passage: Passage) -> models.PointStruct:
        from qdrant_client import models

        vectors: dict[str, models.Vector] = {MEANING: list(numbers_of(passage.vector))}
        words = self._words.of_passage(passage.text)
        if words.indices:
            vectors[WORDS] = models.SparseVector(indices=words.indices, values=words.values)
        return models.PointStruct(
            id=str(point_id(origin, passage.number)), vector=vectors, payload=payload_of(origin, passage)
        )

    async def _create(self, shelf: str, dimensions: int) -> None:
        from qdrant_client import models

        name = _PREFIX + shelf
        vectors = models.VectorParams(
            size=dimensions, distance=models.Distance.COSINE, datatype=models.Datatype.FLOAT16
        )
        words = models.SparseVectorParams(modifier=models.Modifier.IDF)
        try:
            await _translated(
                self._client.create_collection(
                    name, vectors_config={MEANING: vectors}, sparse_vectors_config={WORDS: words}
                )
            )
        except IndexUnavailable:
            # Another copy may have been first.
            if await self._dimensions(shelf) is None:
                raise
        with warnings.catch_warnings():
            # Qdrant's stand-in for tests has no such indexes, and says so.
            warnings.simplefilter("ignore", UserWarning)
            await _translated(self._client.create_payload_index(name, ORIGIN, models.PayloadSchemaType.KEYWORD))

    async def _dimensions(self, shelf: str) -> int | None:
        """Return how long the vectors of a shelf are; None: it is not there."""
        if shelf not in self._known:
            if not await _translated(self._client.collection_exists(_PREFIX + shelf)):
                return None
            info = await _translated(self._client.get_collection(_PREFIX + shelf))
            vectors = info.config.params.vectors
            if not isinstance(vectors, dict) or MEANING not in vectors:
                raise IndexUnavailable(f"collection {_PREFIX}{shelf} is none of ours: give this mesh its own server")
            self._known[shelf] = vectors[MEANING].size
        return self._known[shelf]

    async def _check(self, shelf: str, *vectors: bytes) -> None:
        dimensions = await self._dimensions(shelf)
        wrong = {len(vector) // FLOAT_BYTES for vector in vectors} - {dimensions}
        if wrong:
            raise WrongVectors(f"shelf {shelf} has vectors of {dimensions} numbers, and these have {min(wrong)}")


def _of(origins: Collection[Origin]) -> models.Filter:
    from qdrant_client import models

    names = [origin_text(origin) for origin in origins]
    return models.Filter(must=[models.FieldCondition(key=ORIGIN, match=models.MatchAny(any=names))])


async def _translated(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except Exception as error:
        # The client lets errors of four libraries through.
        told = hide_secrets(str(error))[:500] or type(error).__name__
        raise IndexUnavailable(f"the Qdrant server cannot be used now: {told}") from error
