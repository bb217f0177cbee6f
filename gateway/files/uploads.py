"""Reading an upload: a multipart form with a file and what it is for, as it comes, within a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from aiohttp import BodyPartReader, web

from gateway.http.errors import ApiError
from streams.files.events import FilePurpose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_FIELD_BYTES: Final = 1024
_CHUNK_BYTES: Final = 64 * 1024
_NAME_CHARS: Final = 512
_ANCHOR: Final = "expires_after[anchor]"
_SECONDS: Final = "expires_after[seconds]"
LEAST_S: Final = 3600
MOST_S: Final = 30 * 24 * 3600
"""Bounds of how long a file that expires stays; OpenAI's."""
PURPOSES: Final[tuple[FilePurpose, ...]] = tuple(one for one in get_args(FilePurpose) if one != "batch_output")


class Upload(NamedTuple):
    """A file on its way in; its bytes can be read once."""

    name: str
    purpose: FilePurpose
    data: AsyncIterator[bytes]
    lasts_s: int | None = None
    """How long it stays; None: until it is deleted."""


async def read_upload(request: web.Request) -> Upload:
    """Read a form up to the bytes of its file: what else it says comes before those.

    Raises:
        ApiError: 415 if it is no form, 400 if something in it is missing or wrong.
    """
    said, part = await _until(request, "file")
    purpose = said.get("purpose")
    upload = _upload(part, None if purpose is None else _purpose(purpose))
    return upload._replace(lasts_s=_lasts_s(said.get(_ANCHOR), said.get(_SECONDS)))


async def read_piece(request: web.Request) -> AsyncIterator[bytes]:
    """Read a form up to the bytes of a piece of an upload, ``data``; these can be read once.

    Raises:
        ApiError: 415 if it is no form, 400 if something in it is missing or wrong.
    """
    return _bytes((await _until(request, "data"))[1])


async def _until(request: web.Request, wanted: str) -> tuple[dict[str, str], BodyPartReader]:
    """Read what a form says before the field that is ``wanted``, and find that."""
    if not (request.content_type or "").startswith("multipart/form-data"):
        message = f"Send a form with the field {wanted}: Content-Type multipart/form-data."
        raise ApiError(415, message, code="unsupported_media_type")
    said: dict[str, str] = {}
    try:
        form = await request.multipart()
        while (part := await form.next()) is not None:
            if not isinstance(part, BodyPartReader):
                raise _wrong(wanted, "a form inside the form is none")
            if part.name == wanted:
                return said, part
            said[str(part.name)[:64]] = await _text(part)
    except ValueError as error:
        raise ApiError(400, f"The form cannot be read: {error}.", code="invalid_body") from error
    raise _wrong(wanted, "it is missing")


def _upload(part: BodyPartReader, purpose: FilePurpose | None) -> Upload:
    if purpose is None:
        raise _wrong("purpose", "it is missing; it stands before the file")
    name = (part.filename or "").strip()
    if not name or len(name) > _NAME_CHARS or not name.isprintable():
        raise _wrong("file", f"it needs a name of 1 to {_NAME_CHARS} characters that can be printed")
    return Upload(name, purpose, _bytes(part))


async def _bytes(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(_CHUNK_BYTES):
        yield piece


async def _text(part: BodyPartReader) -> str:
    raw = bytearray()
    async for piece in _bytes(part):
        raw += piece
        if len(raw) > _FIELD_BYTES:
            raise _wrong(str(part.name)[:64], f"it has more than {_FIELD_BYTES} bytes")
    return raw.decode("utf-8", "replace")


def _purpose(text: str) -> FilePurpose:
    for known in PURPOSES:
        if text == known:
            return known
    raise _wrong("purpose", f"use one of {', '.join(PURPOSES)}")


def _lasts_s(anchor: str | None, seconds: str | None) -> int | None:
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise _wrong(_ANCHOR, "use created_at")
    if seconds is None or not seconds.isascii() or not seconds.isdecimal() or not LEAST_S <= int(seconds) <= MOST_S:
        raise _wrong(_SECONDS, f"use a whole number from {LEAST_S} to {MOST_S}")
    return int(seconds)


def _wrong(field: str, remedy: str) -> ApiError:
    return ApiError(400, f"The value of {field!r} cannot be used: {remedy}.", code="invalid_value", param=field)
