"""``/v1/vector_stores``: making, changing, searching and deleting stores, as OpenAI's API has it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct

from gateway.auth.caller import caller_with, need_model
from gateway.http.body import read_json_body
from gateway.http.errors import ApiError
from gateway.http.file_search.passages import find_passages
from gateway.http.file_search.request import USUAL_RESULTS, RankingOptions, Wanted, filter_of, ranking_of
from gateway.http.vector_stores.adding import Adding, added
from gateway.http.vector_stores.objects import SearchPage, StoreGone, hit_object, store_object
from gateway.http.vector_stores.paging import listed, part_of
from gateway.http.vector_stores.request import (
    SearchRequest,
    StoreFileRequest,
    VectorStoreChange,
    VectorStoreRequest,
    chunking_of,
    labels_of,
    read_body,
    read_page,
)
from gateway.retrieval.errors import TooManyStores
from mesh.client.embedding import SMALL_EMBEDDING_MODEL
from streams.clock import now_ms
from streams.stores.events import StoreChanged, StoreClosed, StoreOpened
from streams.stores.subjects import StoreKey
from streams.tasks.grounding import FileSearch
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.http.site import Site
    from gateway.retrieval.store_log import Standing
    from mesh.access.caller import Caller
    from mesh.files.store import FileStore
    from streams.stores.messages import FoundPassage

_JSON: Final = {"Content-Type": "application/json"}


class VectorStores:
    """The handlers."""

    def __init__(self, site: Site, files: FileStore) -> None:
        """Serve for ``site``."""
        self._site = site
        self._adding = Adding(site.shelf, files)

    async def create(self, request: web.Request) -> web.Response:
        """Make a store, and take its first files in."""
        caller = caller_with(request, "chat")
        asked = read_body(await read_json_body(request, self._site.settings), VectorStoreRequest)
        model = await self._model(caller, asked.embedding_model)
        wanted = [StoreFileRequest(file_id=file) for file in dict.fromkeys(asked.file_ids or ())]
        files = await self._adding.find(caller.account, wanted)
        event = StoreOpened(
            at_ms=now_ms(),
            model=model,
            name=asked.name or "",
            description=asked.description or "",
            chunking=chunking_of(asked.chunking_strategy),
            expires_after_days=None if asked.expires_after is None else asked.expires_after.days,
            labels=labels_of(asked.metadata),
            key_id=caller.key_id,
        )
        try:
            standing = await self._site.shelf.log.open(caller.account, event)
        except TooManyStores as error:
            raise ApiError(409, str(error), code="too_many_vector_stores") from error
        for file in files:
            standing = await self._adding.add(standing.key, added(file, key_id=caller.key_id))
        return answer(store_object(standing))

    async def list_all(self, request: web.Request) -> web.Response:
        """List the account's stores."""
        account = caller_with(request, "read").account
        shelf, page = self._site.shelf, read_page(dict(request.query))
        part = part_of(sorted(await shelf.log.list_all(account)), page)
        standings = [await shelf.log.find(StoreKey(account, token(name))) for name in part.ids]
        # One that was closed a moment ago is left out of its page.
        items = [store_object(one) for one in standings if one is not None and not one.state.is_closed]
        return answer(listed(items, has_more=part.has_more))

    async def show(self, request: web.Request) -> web.Response:
        """Say how a store stands."""
        return answer(store_object(await self._store(request, caller_with(request, "read"))))

    async def change(self, request: web.Request) -> web.Response:
        """Call a store otherwise."""
        standing = await self._store(request, caller_with(request, "chat"))
        asked = read_body(await read_json_body(request, self._site.settings), VectorStoreChange)
        event = StoreChanged(
            at_ms=now_ms(),
            name=asked.name,
            labels=None if asked.metadata is UNSET else labels_of(asked.metadata),
            expires_after_days=_days(asked),
        )
        return answer(store_object(await self._site.shelf.note(standing.key, lambda _: event)))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a store; its files stay."""
        standing = await self._store(request, caller_with(request, "chat"))
        await self._site.shelf.note(standing.key, lambda _: StoreClosed(at_ms=now_ms()))
        return answer(StoreGone(id=standing.key.store))

    async def search(self, request: web.Request) -> web.Response:
        """Find passages."""
        caller = caller_with(request, "chat")
        asked = read_body(await read_json_body(request, self._site.settings), SearchRequest)
        standing = await self._site.shelf.use(caller.account, request.match_info["store"])
        options = asked.ranking_options or RankingOptions()
        search = FileSearch(
            stores=(standing.key.store,),
            limit=asked.max_num_results or USUAL_RESULTS,
            ranking=ranking_of(options),
            threshold=options.score_threshold or 0.0,
        )
        wanted = Wanted(search, filter_of(asked.filters, "filters"))
        queries = (asked.query,) if isinstance(asked.query, str) else tuple(asked.query)
        core = self._site.bus.core
        found = await asyncio.gather(*(find_passages(core, caller, wanted, query) for query in queries))
        best = _best(found, search.limit)
        return answer(SearchPage(search_query=queries, data=tuple([hit_object(one) for one in best])))

    async def _store(self, request: web.Request, caller: Caller) -> Standing:
        return await self._site.shelf.get(caller.account, request.match_info["store"])

    async def _model(self, caller: Caller, asked: str | None) -> str:
        """What makes the vectors of a new store."""
        model = asked or self._site.settings.vector_store_model or self._announced()
        need_model(caller, model)
        roster = self._site.roster_feed.roster
        if not await self._site.is_known(model):
            message = f"The model `{model}` does not exist on this mesh; GET /v1/models lists those that do."
            raise ApiError(404, message, code="model_not_found", param="embedding_model")
        if (kinds := roster.kinds(model)) and "embedding" not in kinds:
            message = f"The model `{model}` makes no vectors."
            raise ApiError(400, message, code="invalid_value", param="embedding_model")
        return model

    def _announced(self) -> str:
        feed = self._site.roster_feed
        names = sorted(view.model for view in feed.roster.models(now_s=feed.now_s()) if view.kind == "embedding")
        if not names:
            message = "No node of the mesh makes vectors now; name an embedding_model that is to come."
            raise ApiError(503, message, code="no_embedding_model", headers={"Retry-After": "5"})
        return SMALL_EMBEDDING_MODEL if SMALL_EMBEDDING_MODEL in names else names[0]


def answer(body: Struct) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=msgspec.json.encode(body), headers=_JSON)


def _days(asked: VectorStoreChange) -> int | None:
    if asked.expires_after is UNSET:
        return None
    return 0 if asked.expires_after is None else asked.expires_after.days


def _best(found: Iterable[tuple[FoundPassage, ...]], limit: int) -> list[FoundPassage]:
    """What several queries have found, each passage once with its best score."""
    best: dict[tuple[str, int, int], FoundPassage] = {}
    for passage in (one for hits in found for one in hits):
        key = (passage.file, passage.place.first, passage.place.last)
        if key not in best or best[key].score < passage.score:
            best[key] = passage
    return sorted(best.values(), key=lambda one: -one.score)[:limit]
