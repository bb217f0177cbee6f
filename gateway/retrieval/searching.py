"""Answering ``retrieval.search``: who may search what, what is looked for, and what of it is shown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.errors import GatewayError
from gateway.requests import Desk
from gateway.retrieval.filters import matches
from gateway.retrieval.hybrid import Search, search
from gateway.retrieval.query_vectors import QueryVectors
from gateway.retrieval.vectors import NoVectors, VectorMaker
from mesh.errors import BusError
from mesh.redaction import hide_secrets
from streams.clock import now_ms
from streams.codec import encode
from streams.errors import InvalidToken
from streams.stores.messages import FoundPassage, FoundPassages, RetrievalRefused, SearchPassages
from streams.stores.subjects import SEARCH, StoreKey
from streams.tokens import Token, token

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.retrieval.following import IndexFollower, Shown
    from gateway.retrieval.hybrid import Scored
    from gateway.retrieval.index.index import Index, Origin
    from mesh.bus.direct_client import Delivery
    from mesh.bus.service_bus import Bus
    from streams.stores.fold import StoreState
    from streams.stores.messages import Filter, RetrievalAnswer

_QUEUE: Final = "retrieval"
_MOST_ANSWER_BYTES: Final = 768 * 1024
"""Below the broker's largest message: passages that are too much together with those before are left out."""
_MOST_MESSAGE_CHARS: Final = 1024


class Refused(GatewayError):
    """A search that cannot be; the text goes to the client."""

    def __init__(self, code: str, message: str, status: int) -> None:
        """Refuse with what HTTP says."""
        super().__init__(message)
        self.code = code
        self.status = status


class _Store(NamedTuple):
    key: StoreKey
    state: StoreState
    shown: Shown


class SearchDesk:
    """Answers searches, sharing them with all other copies. The bus must be followed (``Bus.follow``)."""

    def __init__(self, bus: Bus, follower: IndexFollower, index: Index) -> None:
        """Search ``index``, which ``follower`` keeps and has brought up to date."""
        self._desk = Desk(bus.core)
        self._follower = follower
        self._index = index
        self._vectors = QueryVectors(VectorMaker(bus))

    async def start(self) -> None:
        """Begin to answer."""
        await self._desk.serve(SEARCH, SearchPassages, self._answer, queue=_QUEUE)

    async def stop(self) -> None:
        """Answer no more."""
        await self._desk.stop()

    async def _answer(self, delivery: Delivery, asked: SearchPassages) -> RetrievalAnswer:
        del delivery
        try:
            return await self.search(asked)
        except (Refused, NoVectors) as error:
            return _refusal(error.code, str(error), error.status)
        except GatewayError as error:
            return _refusal("retrieval_unavailable", f"The store cannot be searched now: {error}", 503)
        except BusError as error:
            return _refusal("mesh_unavailable", f"The store cannot be searched now: {error}", 503)

    async def search(self, asked: SearchPassages) -> FoundPassages:
        """Return what is found.

        Raises:
            Refused: if a store is none of this account's.
            NoVectors: if no node makes vectors of the query.
            IndexUnavailable: if the index cannot be read or is far behind.
            WrongVectors: if the model has changed under its name.
            BusError: if the streams cannot be read.
        """
        account = _token(asked.account)
        stores = [await self._store(account, name) for name in dict.fromkeys(asked.stores)]
        searches = [one for store in stores for one in _searches(store, asked.filter)]
        models = list(dict.fromkeys(one.model for one in searches)) if asked.ranking != "lexical" else []
        making = [self._vectors.get(account, model, asked.query, key_id=asked.key_id) for model in models]
        vectors = await asyncio.gather(*making)
        of_model = dict(zip(models, vectors, strict=True))
        scored = await search(self._index, searches, of_model, asked.query, ranking=asked.ranking)
        hits = (hit for one in scored if (hit := _hit(stores, one)) is not None and hit.score >= asked.threshold)
        return FoundPassages(hits=_fitting(hits, asked.limit))

    async def _store(self, account: Token, name: str) -> _Store:
        key = StoreKey(account, _token(name))
        found = await self._follower.find(key)
        if found is None:
            raise _unknown(name)
        state, shown = found
        if state.is_over(now_ms()):
            message = f"The vector store {name} has expired: its files are found no more."
            raise Refused("vector_store_expired", message, 400)
        return _Store(key, state, shown)


def _searches(store: _Store, wanted: Filter | None) -> Iterable[Search]:
    """Say where to look. What was removed a moment ago is left out when it is found."""
    for shelf, model in store.shown.shelves.items():
        among = None if wanted is None else _among(store, shelf, wanted)
        if among is None or among:
            yield Search(shelf, model, among)


def _among(store: _Store, shelf: str, wanted: Filter) -> frozenset[Origin]:
    files = store.state.files
    origins = (origin for origin, where in store.shown.origins.items() if where == shelf)
    return frozenset(
        origin
        for origin in origins
        if (file := files.get(origin.file)) is not None and matches(wanted, file.attributes)
    )


def _hit(stores: Sequence[_Store], scored: Scored) -> FoundPassage | None:
    """Say what a passage is of; None if its file is not in the store, or no more, or in another generation."""
    origin = scored.match.origin
    for store in stores:
        file = store.state.files.get(origin.file)
        if store.shown.origins.get(origin) == scored.shelf and file is not None:
            return FoundPassage(
                store=store.key.store,
                file=file.id,
                filename=file.filename,
                attributes=file.attributes,
                score=scored.score,
                text=scored.match.text,
                place=scored.match.place,
            )
    return None


def _fitting(hits: Iterable[FoundPassage], limit: int) -> tuple[FoundPassage, ...]:
    kept: list[FoundPassage] = []
    room = _MOST_ANSWER_BYTES
    for hit in hits:
        room -= len(encode(FoundPassages(hits=(hit,))))
        if room < 0 or len(kept) == limit:
            break
        kept.append(hit)
    return tuple(kept)


def _token(text: str) -> Token:
    try:
        return token(text)
    except InvalidToken:
        raise _unknown(text) from None


def _unknown(name: str) -> Refused:
    return Refused("vector_store_not_found", f"No such vector store: {name[:64]}", 404)


def _refusal(code: str, message: str, status: int) -> RetrievalRefused:
    return RetrievalRefused(code=code, message=hide_secrets(message)[:_MOST_MESSAGE_CHARS], status=status)
