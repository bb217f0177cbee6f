"""``/v1/files``: putting files on the mesh, listing, reading and deleting them, as OpenAI's API has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.auth.caller import caller_with
from gateway.files.uploads import read_upload
from gateway.http.errors import ApiError, store_full, too_large
from mesh.errors import FileNotKept
from mesh.files.store import MOST_FILES, parse_file_id
from streams.files.events import FilePurpose, StoredFile

if TYPE_CHECKING:
    from gateway.http.site import Site
    from mesh.files.store import FileStore
    from streams.tokens import Token

_JSON: Final = {"Content-Type": "application/json"}
_MS: Final = 1000


class FileObject(Struct, frozen=True, kw_only=True):
    """OpenAI's file object."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: FilePurpose
    status: Literal["processed"] = "processed"


class FileList(Struct, frozen=True, kw_only=True):
    """OpenAI's list of files, the newest first."""

    object: Literal["list"] = "list"
    data: tuple[FileObject, ...]
    has_more: bool = False


class FileGone(Struct, frozen=True, kw_only=True):
    """What is left of a file that was deleted."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class Files:
    """The handlers."""

    def __init__(self, site: Site, store: FileStore) -> None:
        """Serve for ``site``."""
        self._site = site
        self._store = store

    async def create(self, request: web.Request) -> web.Response:
        """Store a file."""
        account = caller_with(request, "chat").account
        if (shortage := self._site.bus.stores.shortage) is not None:
            raise store_full(shortage)
        if len(await self._store.list_all(account)) >= MOST_FILES:
            raise too_many_files()
        upload = await read_upload(request)
        limit = self._site.settings.file_limit
        try:
            stored = await self._store.put(
                account, upload.name, upload.purpose, upload.data, limit_bytes=limit, lasts_s=upload.lasts_s
            )
        except FileNotKept as error:
            raise too_large(limit) from error
        return _answer(file_object(stored))

    async def list_all(self, request: web.Request) -> web.Response:
        """List the account's files."""
        account, purpose = caller_with(request, "read").account, request.query.get("purpose")
        files = [file for file in await self._store.list_all(account) if purpose in (None, file.event.purpose)]
        return _answer(FileList(data=tuple(file_object(file) for file in files)))

    async def show(self, request: web.Request) -> web.Response:
        """Say what a file is."""
        return _answer(file_object(await self._file(request)))

    async def content(self, request: web.Request) -> web.StreamResponse:
        """Send a file's bytes."""
        account = caller_with(request, "read").account
        stored = await self._file(request)
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        response.content_length = stored.event.size_bytes
        await response.prepare(request)
        async for part in self._store.read(account, _id(request)):
            await response.write(part)
        await response.write_eof()
        return response

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a file, and remove it from the vector stores that it is in."""
        account, file = caller_with(request, "chat").account, _id(request)
        if await self._store.find(account, file) is None:
            raise unknown_file(file)
        # First, so that whoever tries again finds what is left to do.
        await self._site.shelf.forget_file(account, file)
        if not await self._store.delete(account, file):
            raise unknown_file(file)
        return _answer(FileGone(id=file))

    async def _file(self, request: web.Request) -> StoredFile:
        account, file = caller_with(request, "read").account, _id(request)
        stored = await self._store.find(account, file)
        if stored is None:
            raise unknown_file(file)
        return stored


def file_object(stored: StoredFile) -> FileObject:
    """A file as OpenAI's clients read it."""
    event = stored.event
    return FileObject(
        id=stored.id,
        bytes=event.size_bytes,
        created_at=event.at_ms // _MS,
        expires_at=None if event.expires_at_ms is None else event.expires_at_ms // _MS,
        filename=event.name,
        purpose=event.purpose,
    )


def too_many_files() -> ApiError:
    """There is no room for another one."""
    message = f"The account has {MOST_FILES} files, which is the most: delete some first."
    return ApiError(409, message, code="too_many_files")


def unknown_file(text: str) -> ApiError:
    """No such file is the account's."""
    return ApiError(404, f"No such File object: {text[:100]}", code="file_not_found", param="file_id")


def _id(request: web.Request) -> Token:
    text = request.match_info["file"]
    file = parse_file_id(text)
    if file is None:
        raise unknown_file(text)
    return file


def _answer(body: Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), headers=_JSON)
