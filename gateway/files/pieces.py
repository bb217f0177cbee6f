"""``/v1/uploads``: a file that comes in several pieces, as OpenAI's API has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from gateway.auth.caller import caller_with
from gateway.files.handlers import FileObject, file_object, too_many_files
from gateway.files.uploads import LEAST_S, MOST_S, read_piece
from gateway.http.body import read_json_body
from gateway.http.body_reader import BodyReader
from gateway.http.errors import ApiError, store_full, too_large
from mesh.errors import FileNotKept
from mesh.files.store import MOST_FILES
from mesh.files.uploads import LASTS_MS, MOST_PIECES, Outcome, Upload, begun_ms, is_late, parse_upload_id
from streams.clock import now_ms

if TYPE_CHECKING:
    from gateway.http.site import Site
    from mesh.files.store import FileStore
    from mesh.files.uploads import UploadStore
    from streams.files.events import StoredFile
    from streams.tokens import Token

_JSON: Final = {"Content-Type": "application/json"}
_MS: Final = 1000

Purpose = Literal["assistants", "batch", "user_data"]
Status = Literal["pending", "completed", "cancelled"]


class ExpiresAfter(Struct, frozen=True, kw_only=True):
    """How long the file stays."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=LEAST_S, le=MOST_S)]


class UploadRequest(Struct, frozen=True, kw_only=True):
    """What is going to be uploaded."""

    filename: Annotated[str, Meta(min_length=1, max_length=512)]
    purpose: Purpose
    bytes: Annotated[int, Meta(ge=1)]
    mime_type: str | None = None
    expires_after: ExpiresAfter | None = None


class CompleteRequest(Struct, frozen=True, kw_only=True):
    """Which pieces make the file, in this order."""

    part_ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=MOST_PIECES)]
    md5: Annotated[str, Meta(max_length=64)] | None = None


class UploadObject(Struct, frozen=True, kw_only=True):
    """OpenAI's upload object."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Status
    file: FileObject | None


class UploadPart(Struct, frozen=True, kw_only=True):
    """OpenAI's object for a piece."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


_upload_body: Final = BodyReader(UploadRequest)
_complete_body: Final = BodyReader(CompleteRequest)


class Uploads:
    """The handlers."""

    def __init__(self, site: Site, store: UploadStore, files: FileStore) -> None:
        """Serve for ``site``; what is completed goes to ``files``."""
        self._site = site
        self._store = store
        self._files = files

    async def create(self, request: web.Request) -> web.Response:
        """Begin an upload."""
        account = self._account(request)
        asked = _upload_body.read(await read_json_body(request, self._site.settings))
        if not asked.filename.isprintable():
            raise _wrong("filename", "it needs characters that can be printed")
        if asked.bytes > self._site.settings.file_limit:
            raise too_large(self._site.settings.file_limit)
        lasts_s = None if asked.expires_after is None else asked.expires_after.seconds
        upload = Upload(name=asked.filename, purpose=asked.purpose, size_bytes=asked.bytes, lasts_s=lasts_s)
        try:
            name = await self._store.open(account, upload, now_ms=now_ms())
        except FileNotKept as error:
            raise ApiError(409, f"Not now: {error}.", code="too_many_uploads") from error
        return _answer(upload_object(name, upload, "pending"))

    async def add(self, request: web.Request) -> web.Response:
        """Store a piece."""
        account = self._account(request)
        name, upload = await self._open(request, account)
        data = await read_piece(request)
        try:
            number = await self._store.add(account, name, data, limit_bytes=upload.size_bytes)
        except FileNotKept as error:
            raise ApiError(413, f"Not taken: {error}.", code="request_too_large", param="data") from error
        return _answer(UploadPart(id=part_id(name, number), created_at=now_ms() // _MS, upload_id=name))

    async def complete(self, request: web.Request) -> web.Response:
        """Make the pieces a file."""
        account = self._account(request)
        asked = _complete_body.read(await read_json_body(request, self._site.settings))
        name, upload = await self._find(request, account)
        wanted = Outcome(pieces=_pieces(name, asked.part_ids))
        outcome = await self._store.outcome(account, name)
        if outcome is None:
            await self._check(account, name, upload, wanted, asked.md5)
            outcome = await self._store.end(account, name, wanted)
        if outcome != wanted:
            raise _over(name)
        stored = await self._store.make(account, name, upload, outcome)
        await self._store.clear(account, name)
        return _answer(upload_object(name, upload, "completed", stored))

    async def cancel(self, request: web.Request) -> web.Response:
        """Want no more of an upload."""
        account = self._account(request)
        name, upload = await self._find(request, account)
        if (await self._store.end(account, name, Outcome())).pieces:
            raise _over(name)
        await self._store.clear(account, name)
        return _answer(upload_object(name, upload, "cancelled"))

    async def _check(self, account: Token, name: Token, upload: Upload, wanted: Outcome, md5: str | None) -> None:
        missing = set(wanted.pieces) - await self._store.pieces(account, name)
        if missing:
            raise _wrong("part_ids", f"there is no part {part_id(name, min(missing))}")
        size, digest = await self._store.measure(account, name, wanted.pieces)
        if size != upload.size_bytes:
            raise _wrong("part_ids", f"these parts have {size:,} bytes, and the upload was for {upload.size_bytes:,}")
        if md5 is not None and md5.lower() != digest:
            raise _wrong("md5", f"the MD5 of these parts is {digest}")
        if len(await self._files.list_all(account)) >= MOST_FILES:
            raise too_many_files()

    async def _open(self, request: web.Request, account: Token) -> tuple[Token, Upload]:
        name, upload = await self._find(request, account)
        if await self._store.outcome(account, name) is not None:
            raise _over(name)
        return name, upload

    async def _find(self, request: web.Request, account: Token) -> tuple[Token, Upload]:
        text = request.match_info["upload"]
        name = parse_upload_id(text)
        upload = None if name is None else await self._store.find(account, name)
        if name is None or upload is None:
            raise ApiError(404, f"No such Upload object: {text[:100]}", code="upload_not_found", param="upload_id")
        if is_late(name, now_ms()):
            raise _over(name)
        return name, upload

    def _account(self, request: web.Request) -> Token:
        account = caller_with(request, "chat").account
        if (shortage := self._site.bus.stores.shortage) is not None:
            raise store_full(shortage)
        return account


def upload_object(name: Token, upload: Upload, status: Status, stored: StoredFile | None = None) -> UploadObject:
    """An upload as OpenAI's clients read it."""
    at_ms = begun_ms(name)
    return UploadObject(
        id=name,
        bytes=upload.size_bytes,
        created_at=at_ms // _MS,
        expires_at=(at_ms + LASTS_MS) // _MS,
        filename=upload.name,
        purpose=upload.purpose,
        status=status,
        file=None if stored is None else file_object(stored),
    )


def part_id(name: Token, number: int) -> str:
    """The id of a piece."""
    return f"{name.replace('upload_', 'part_', 1)}_{number}"


def _pieces(name: Token, ids: list[str]) -> tuple[int, ...]:
    numbers = {part_id(name, number): number for number in range(1, MOST_PIECES + 1)}
    unknown = [one for one in ids if one not in numbers]
    if unknown:
        raise _wrong("part_ids", f"{unknown[0]!r} is no part of this upload")
    if len(set(ids)) < len(ids):
        raise _wrong("part_ids", "it names a part twice")
    return tuple(numbers[one] for one in ids)


def _over(name: Token) -> ApiError:
    message = f"The upload {name} was completed or cancelled, or its hour is over: begin another one."
    return ApiError(409, message, code="upload_over", headers={"x-should-retry": "false"})


def _wrong(field: str, remedy: str) -> ApiError:
    return ApiError(400, f"The value of {field!r} cannot be used: {remedy}.", code="invalid_value", param=field)


def _answer(body: Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), headers=_JSON)
