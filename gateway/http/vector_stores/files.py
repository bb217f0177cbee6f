"""``/v1/vector_stores/{store}/files`` and ``/file_batches``: what a store holds, as OpenAI's API has it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from gateway.auth.caller import caller_with
from gateway.files.handlers import unknown_file
from gateway.http.body import read_json_body
from gateway.http.errors import ApiError
from gateway.http.vector_stores.adding import Adding, added
from gateway.http.vector_stores.objects import (
    ContentText,
    FileContent,
    StoreFileGone,
    batch_object,
    file_object,
)
from gateway.http.vector_stores.paging import listed, part_of
from gateway.http.vector_stores.request import (
    FileBatchRequest,
    StoreFileChange,
    StoreFileRequest,
    attributes_of,
    read_body,
    read_page,
)
from gateway.http.vector_stores.stores import answer
from gateway.retrieval.passage_log import PassageLog
from streams.clock import now_ms
from streams.stores import subjects as store_subjects
from streams.stores.events import StoreBatchCancelled, StoreFileChanged, StoreFileRemoved
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from aiohttp import web

    from gateway.http.site import Site
    from gateway.retrieval.store_log import Standing
    from mesh.files.store import FileStore
    from streams.access.events import Right
    from streams.stores.fold import StoreFile


class StoreFiles:
    """The handlers."""

    def __init__(self, site: Site, files: FileStore) -> None:
        """Serve for ``site``."""
        self._site = site
        self._adding = Adding(site.shelf, files)

    async def attach(self, request: web.Request) -> web.Response:
        """Take a file into a store."""
        caller = caller_with(request, "chat")
        asked = read_body(await read_json_body(request, self._site.settings), StoreFileRequest)
        standing = await self._site.shelf.use(caller.account, request.match_info["store"])
        (file,) = await self._adding.find(caller.account, (asked,))
        standing = await self._adding.add(standing.key, added(file, key_id=caller.key_id))
        return answer(file_object(standing.key.store, _file(standing, file.file)))

    async def list_all(self, request: web.Request) -> web.Response:
        """List the files of a store."""
        standing = await self._standing(request, "read")
        return _listed(standing, standing.state.files.values(), request)

    async def show(self, request: web.Request) -> web.Response:
        """Say how a file of a store stands."""
        standing = await self._standing(request, "read")
        return answer(file_object(standing.key.store, _file(standing, request.match_info["file"])))

    async def change(self, request: web.Request) -> web.Response:
        """Note other attributes on a file."""
        standing = await self._standing(request, "chat")
        file = _file(standing, request.match_info["file"])
        asked = read_body(await read_json_body(request, self._site.settings), StoreFileChange)
        event = StoreFileChanged(at_ms=now_ms(), file=file.id, attributes=attributes_of(asked.attributes))
        standing = await self._site.shelf.note(standing.key, lambda _: event)
        return answer(file_object(standing.key.store, _file(standing, file.id)))

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a file from a store; the file itself stays."""
        standing = await self._standing(request, "chat")
        file = _file(standing, request.match_info["file"])
        await self._site.shelf.note(standing.key, lambda _: StoreFileRemoved(at_ms=now_ms(), file=file.id))
        return answer(StoreFileGone(id=file.id))

    async def content(self, request: web.Request) -> web.Response:
        """Show the passages of a file as they are searched."""
        standing = await self._standing(request, "read")
        file = _file(standing, request.match_info["file"])
        texts = [ContentText(text=text) async for text in self._texts(standing, file)]
        return answer(FileContent(data=tuple(texts)))

    # --- batches of files --------------------------------------------------------------------------------------------

    async def create_batch(self, request: web.Request) -> web.Response:
        """Take several files into a store."""
        caller = caller_with(request, "chat")
        asked = read_body(await read_json_body(request, self._site.settings), FileBatchRequest)
        standing = await self._site.shelf.use(caller.account, request.match_info["store"])
        files = await self._adding.find(caller.account, _wanted(asked))
        batch = f"vsfb_{uuid4().hex}"
        for file in files:
            standing = await self._adding.add(standing.key, added(file, key_id=caller.key_id, batch=batch))
        return answer(batch_object(standing.key.store, batch, _of_batch(standing, batch)))

    async def show_batch(self, request: web.Request) -> web.Response:
        """Say how several files stand that were added at once."""
        standing = await self._standing(request, "read")
        batch = request.match_info["batch"]
        return answer(batch_object(standing.key.store, batch, _of_batch(standing, batch)))

    async def list_batch(self, request: web.Request) -> web.Response:
        """List the files that were added at once."""
        standing = await self._standing(request, "read")
        return _listed(standing, _of_batch(standing, request.match_info["batch"]), request)

    async def cancel_batch(self, request: web.Request) -> web.Response:
        """Want no more of what has not been taken in yet."""
        standing = await self._standing(request, "chat")
        batch = request.match_info["batch"]
        _of_batch(standing, batch)
        event = StoreBatchCancelled(at_ms=now_ms(), batch=batch)
        standing = await self._site.shelf.note(standing.key, lambda _: event)
        return answer(batch_object(standing.key.store, batch, _of_batch(standing, batch)))

    async def _standing(self, request: web.Request, right: Right) -> Standing:
        return await self._site.shelf.get(caller_with(request, right).account, request.match_info["store"])

    async def _texts(self, standing: Standing, file: StoreFile) -> AsyncIterator[str]:
        if file.indexed is None:
            return
        passages = PassageLog(self._site.bus.core)
        every = store_subjects.passages_of_generation(standing.key, token(file.id), file.indexed.generation)
        # Numbers of parts have holes.
        for part in await passages.held(every):
            batch = await passages.get(part)
            for passage in () if batch is None else batch.passages:
                yield passage.text


def _wanted(asked: FileBatchRequest) -> list[StoreFileRequest]:
    """The files of a batch, each once."""
    if bool(asked.file_ids) == bool(asked.files):
        message = "Give either 'file_ids' or 'files', and at least one of them."
        raise ApiError(400, message, code="invalid_value", param="file_ids")
    alike = [
        StoreFileRequest(file_id=file, attributes=asked.attributes, chunking_strategy=asked.chunking_strategy)
        for file in asked.file_ids or ()
    ]
    return list({one.file_id: one for one in (*alike, *(asked.files or ()))}.values())


def _listed(standing: Standing, files: Collection[StoreFile], request: web.Request) -> web.Response:
    page = read_page(dict(request.query))
    wanted = [file for file in files if page.filter in (None, file.status)]
    known = {file.id: file for file in sorted(wanted, key=lambda file: (file.added_at_ms, file.id))}
    part = part_of(list(known), page)
    items = [file_object(standing.key.store, known[name]) for name in part.ids]
    return answer(listed(items, has_more=part.has_more))


def _file(standing: Standing, name: str) -> StoreFile:
    file = standing.state.files.get(name)
    if file is None:
        raise unknown_file(name)
    return file


def _of_batch(standing: Standing, batch: str) -> list[StoreFile]:
    files = [file for file in standing.state.files.values() if file.batch == batch]
    if not files:
        message = f"No file batch '{batch[:100]}' is known in this vector store."
        raise ApiError(404, message, code="file_batch_not_found", param="batch_id")
    return files
