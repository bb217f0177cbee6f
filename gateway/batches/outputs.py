"""The files that a batch writes: a line for each request, kept as it is answered, in the order of the input.

A line is one or several parts, whose numbers follow from the line's. The first of them is written last: where it is
there, the line is whole. So a gateway that takes a batch over knows what is answered already.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec
from msgspec import Raw, Struct

from streams.files.events import PART_BYTES
from streams.tokens import Token

if TYPE_CHECKING:
    from gateway.batches.requests import Numbered
    from gateway.http.errors import ApiError
    from mesh.files.store import FileStore

PARTS_OF_LINE: Final = 16
MOST_LINE_BYTES: Final = PARTS_OF_LINE * PART_BYTES

Kind = Literal["output", "errors"]


class _Response(Struct, frozen=True, kw_only=True):
    status_code: int
    request_id: str
    body: Raw


class _LineError(Struct, frozen=True, kw_only=True):
    code: str
    message: str


class _OutputLine(Struct, frozen=True, kw_only=True):
    id: str
    custom_id: str
    response: _Response | None
    error: _LineError | None = None


class Counts(NamedTuple):
    """How many requests have a line."""

    completed: int
    failed: int


NOTHING: Final = Counts(0, 0)


class Outputs:
    """What one batch has written."""

    def __init__(self, store: FileStore, account: Token, batch: Token) -> None:
        """Write for ``batch``; nothing is written yet."""
        self._store = store
        self._account = account
        self._batch = batch
        self._lines: dict[Kind, set[int]] = {"output": set(), "errors": set()}

    @property
    def counts(self) -> Counts:
        """How many lines there are of each kind."""
        return Counts(len(self._lines["output"]), len(self._lines["errors"]))

    def has(self, line: int) -> bool:
        """Whether a request has its line."""
        return line in self._lines["output"] or line in self._lines["errors"]

    async def look(self) -> None:
        """Find out what is written already.

        Raises:
            BusError: if that cannot be read.
        """
        for kind, lines in self._lines.items():
            numbers = await self._store.parts(self._account, self.file(kind))
            lines.update(number // PARTS_OF_LINE for number in numbers if number % PARTS_OF_LINE == 0)

    async def answered(self, numbered: Numbered, task: str, body: bytes) -> None:
        """Write a line for a request that was answered.

        Raises:
            BusError: if it cannot be written.
        """
        response = _Response(status_code=200, request_id=task, body=Raw(body))
        await self._write("output", numbered, task, response, None)

    async def failed(self, numbered: Numbered, task: str, error: ApiError) -> None:
        """Write a line for a request that came to nothing.

        Raises:
            BusError: if it cannot be written.
        """
        response = _Response(status_code=error.status, request_id=task, body=Raw(error.body()))
        await self._write("errors", numbered, task, response, None)

    async def left(self, numbered: Numbered, task: str, code: str, message: str) -> None:
        """Write a line for a request that was never asked.

        Raises:
            BusError: if it cannot be written.
        """
        await self._write("errors", numbered, task, None, _LineError(code=code, message=message))

    async def close(self, kind: Kind) -> Token | None:
        """Make what was written a file; None where that is nothing.

        Raises:
            BusError: if it cannot be stored.
        """
        if not self._lines[kind]:
            return None
        digest, size = hashlib.sha256(), 0
        async for part in self._store.read(self._account, self.file(kind)):
            digest.update(part)
            size += len(part)
        name = f"{self._batch}_{kind}.jsonl"
        file = self.file(kind)
        await self._store.finish(self._account, file, name, "batch_output", size_bytes=size, sha256=digest.hexdigest())
        return file

    def file(self, kind: Kind) -> Token:
        """The id of a file, the same whoever writes it."""
        return Token(f"file-{self._batch.removeprefix('batch_')}-{kind}")

    async def _write(
        self, kind: Kind, numbered: Numbered, task: str, response: _Response | None, error: _LineError | None
    ) -> None:
        line = _OutputLine(id=f"batch_req_{task}", custom_id=numbered.line.custom_id, response=response, error=error)
        data = msgspec.json.encode(line) + b"\n"
        if len(data) > MOST_LINE_BYTES:
            message = f"The answer has more than {MOST_LINE_BYTES:,} bytes."
            await self.left(numbered, task, "answer_too_long", message)
            return
        first = numbered.number * PARTS_OF_LINE
        pieces = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]
        for index in reversed(range(len(pieces))):
            await self._store.put_part(self._account, self.file(kind), first + index, pieces[index])
        self._lines[kind].add(numbered.number)
