"""Uploads: files that come in pieces of their own, in any order, and become one file when their owner says so.

All of an upload is in FILE_PARTS, whose subjects take one message each: that settles every race. Number 0 says what is
wanted, number 1 how it ended. Each piece has a thousand numbers: the first claims them, the others are its bytes.
Nothing is kept of an upload that was not completed in time: the account's next one clears it away.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct

from mesh.errors import BusError, FileNotKept, SubjectTaken
from mesh.files.store import in_parts
from streams.codec import encode
from streams.errors import InvalidTaskId
from streams.files import subjects as file_subjects
from streams.files.events import FilePart, FilePurpose
from streams.tasks.task_id import created_ms, new_task_id, parse_task_id
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mesh.bus.link import Link
    from mesh.files.store import FileStore
    from streams.files.events import StoredFile

LASTS_MS: Final = 3_600_000
"""How long an upload may take; OpenAI's."""
MOST_PIECES: Final = 1000
MOST_UPLOADS: Final = 100
"""Of an account in an hour, whatever became of them."""

_STRIDE: Final = 1000
_WANTED: Final = 0
_OUTCOME: Final = 1
_PREFIX: Final = "upload_"


class Upload(Struct, frozen=True, kw_only=True):
    """What is wanted."""

    name: Annotated[str, Meta(min_length=1, max_length=512)]
    purpose: FilePurpose
    size_bytes: Annotated[int, Meta(ge=1)]
    lasts_s: int | None = None
    """How long the file stays; None: until it is deleted."""


class Outcome(Struct, frozen=True, kw_only=True):
    """How it ended: as a file of these pieces, in this order; none: it was cancelled."""

    pieces: tuple[int, ...] = ()


_decode_upload: Final = msgspec.msgpack.Decoder(Upload).decode
_decode_outcome: Final = msgspec.msgpack.Decoder(Outcome).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class UploadStore:
    """All uploads, over a connection in CORE."""

    def __init__(self, core: Link, files: FileStore) -> None:
        """Make files in ``files``."""
        self._core = core
        self._files = files

    async def open(self, account: Token, upload: Upload, *, now_ms: int) -> Token:
        """Begin an upload; returns its id.

        Raises:
            FileNotKept: if the account has begun too many.
            BusError: if it cannot be stored.
        """
        names = [name for name in await self._files.names_with(account, _WANTED) if name.startswith(_PREFIX)]
        late = [name for name in names if is_late(name, now_ms)]
        for name in late:
            await self._files.remove(account, name)
        if len(names) - len(late) >= MOST_UPLOADS:
            raise FileNotKept(f"the account has begun {MOST_UPLOADS} uploads within an hour, which is the most")
        name = Token(f"{_PREFIX}{new_task_id(now_ms)}")
        await self._files.put_part(account, name, _WANTED, _encode(upload))
        return name

    async def find(self, account: Token, name: Token) -> Upload | None:
        """Return what is wanted; None: there is no such upload.

        Raises:
            BusError: if it cannot be read.
        """
        data = await self._files.find_part(account, name, _WANTED)
        return None if data is None else _decode_upload(data)

    async def outcome(self, account: Token, name: Token) -> Outcome | None:
        """Return how it ended; None: it has not.

        Raises:
            BusError: if it cannot be read.
        """
        data = await self._files.find_part(account, name, _OUTCOME)
        return None if data is None else _decode_outcome(data)

    async def add(self, account: Token, name: Token, data: AsyncIterator[bytes], *, limit_bytes: int) -> int:
        """Store a piece as it comes; returns its number, from 1.

        Raises:
            FileNotKept: if it has more than ``limit_bytes``, or there are too many.
            BusError: if it cannot be stored.
        """
        piece = await self._claim(account, name)
        size, number = 0, piece * _STRIDE
        async for part in in_parts(data):
            size, number = size + len(part), number + 1
            if size > limit_bytes or number >= (piece + 1) * _STRIDE:
                raise FileNotKept(f"the part has more than {limit_bytes:,} bytes")
            await self._files.put_part(account, name, number, part)
        return piece

    async def end(self, account: Token, name: Token, wanted: Outcome) -> Outcome:
        """Say how it ends, unless that was said before; returns what counts.

        Raises:
            BusError: if it cannot be stored.
        """
        await self._files.put_part(account, name, _OUTCOME, _encode(wanted))
        ended = await self.outcome(account, name)
        if ended is None:
            raise BusError(f"how {name} ended cannot be read yet: try again")
        return ended

    async def measure(self, account: Token, name: Token, pieces: Sequence[int]) -> tuple[int, str]:
        """Return the size and the MD5 in hex of some pieces, in their order.

        Raises:
            BusError: if they cannot be read.
        """
        size, digest = 0, hashlib.md5(usedforsecurity=False)
        async for part in self.read(account, name, pieces):
            size += len(part)
            digest.update(part)
        return size, digest.hexdigest()

    async def make(self, account: Token, name: Token, upload: Upload, outcome: Outcome) -> StoredFile:
        """Make the file of an upload that is completed; once more is fine, and goes on where it was.

        Raises:
            BusError: if it cannot be stored.
        """
        file = Token(f"file-{name.removeprefix(_PREFIX)}")
        stored = await self._files.find(account, file)
        if stored is not None:
            return stored
        digest, size, number = hashlib.sha256(), 0, 0
        async for part in in_parts(self.read(account, name, outcome.pieces)):
            digest.update(part)
            await self._files.put_part(account, file, number, part)
            size, number = size + len(part), number + 1
        if size != upload.size_bytes:
            # Somebody else has made it meanwhile, and cleared the pieces away.
            if (stored := await self._files.find(account, file)) is None:
                raise BusError(f"the pieces of {name} cannot be read now: complete it again")
            return stored
        return await self._files.finish(
            account,
            file,
            upload.name,
            upload.purpose,
            size_bytes=upload.size_bytes,
            sha256=digest.hexdigest(),
            lasts_s=upload.lasts_s,
        )

    async def clear(self, account: Token, name: Token) -> None:
        """Delete the bytes of an upload that has ended; how it ended stays for its hour.

        Raises:
            BusError: if they cannot be deleted.
        """
        await self._files.remove(account, name, beyond=_OUTCOME)

    async def pieces(self, account: Token, name: Token) -> frozenset[int]:
        """Return which pieces there are.

        Raises:
            BusError: if that cannot be read.
        """
        numbers = await self._files.parts(account, name)
        return frozenset(number // _STRIDE for number in numbers if number >= _STRIDE)

    async def read(self, account: Token, name: Token, pieces: Sequence[int]) -> AsyncIterator[bytes]:
        """Yield the bytes of pieces, in their order.

        Raises:
            BusError: if they cannot be read.
        """
        numbers = await self._files.parts(account, name)
        for piece in pieces:
            for number in numbers:
                if number // _STRIDE == piece and number % _STRIDE:
                    yield await self._files.part(account, name, number)

    async def _claim(self, account: Token, name: Token) -> int:
        taken = await self.pieces(account, name)
        for piece in range(max(taken, default=0) + 1, MOST_PIECES + 1):
            subject = file_subjects.file_part(account, name, piece * _STRIDE)
            try:
                await self._core.append(subject, encode(FilePart(data=b"")))
            except SubjectTaken:
                # Somebody else adds a piece at the same time.
                continue
            return piece
        raise FileNotKept(f"an upload has at most {MOST_PIECES} parts")


def parse_upload_id(text: str) -> Token | None:
    """Return an upload's id, or None where a text cannot be one."""
    if not text.startswith(_PREFIX):
        return None
    try:
        return Token(_PREFIX + parse_task_id(text.removeprefix(_PREFIX)))
    except InvalidTaskId:
        return None


def is_late(name: Token, now_ms: int) -> bool:
    """Whether the time of an upload is over."""
    return now_ms - begun_ms(name) > LASTS_MS


def begun_ms(name: Token) -> int:
    """When an upload began, in Unix milliseconds."""
    return created_ms(Token(name.removeprefix(_PREFIX)))
