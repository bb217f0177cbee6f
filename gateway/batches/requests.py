"""The lines of a batch's input: each is one request for one API, in a batch under a name of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec
from msgspec import Raw, Struct

from gateway.auth.caller import NotAllowed
from gateway.http.chat.question import ChatQuestion
from gateway.http.completions.question import CompletionQuestion
from gateway.http.errors import ApiError, from_exception, turned_away
from streams.batches.events import MOST_REQUESTS, LineFault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.http.api import Question, Read
    from gateway.http.site import Site
    from mesh.access.caller import Caller

MOST_FAULTS: Final = 64
_MOST_LINE_BYTES: Final = 1024 * 1024
_MESSAGE_CHARS: Final = 1000


class Line(Struct, frozen=True, kw_only=True):
    """One line as OpenAI's format has it."""

    custom_id: str
    method: Literal["POST"]
    url: str
    body: Raw


class Numbered(NamedTuple):
    """A line that can be run, and which one it is, from 1."""

    number: int
    line: Line


class Inputs:
    """Reads and checks lines for one batch."""

    def __init__(self, site: Site, caller: Caller, endpoint: str, readers: Mapping[str, Read]) -> None:
        """Read requests for ``endpoint`` in the name of ``caller``."""
        self._site = site
        self._caller = caller
        self._endpoint = endpoint
        self._read = readers[endpoint]

    async def check(self, data: AsyncIterator[bytes]) -> tuple[int, list[LineFault]]:
        """Read all lines; returns how many there are, and what is wrong with some, `MOST_FAULTS` at most."""
        faults: list[LineFault] = []
        names: set[str] = set()
        count = 0
        async for number, raw in _lines(data):
            count += 1
            fault = await self._fault(number, raw, names)
            if fault is not None:
                faults.append(fault)
            if len(faults) >= MOST_FAULTS:
                break
            if count > MOST_REQUESTS:
                message = f"A batch has at most {MOST_REQUESTS:,} requests."
                return count, [LineFault(line=number, code="too_many_requests", message=message)]
        if not count:
            faults.append(LineFault(code="empty_file", message="The input file has no line."))
        return count, faults

    async def all(self, data: AsyncIterator[bytes]) -> AsyncIterator[Numbered]:
        """Yield all lines of an input that was checked."""
        async for number, raw in _lines(data):
            yield Numbered(number, _line(raw))

    async def question(self, line: Line) -> Question:
        """Read a line's request.

        Raises:
            ApiError: if it cannot be asked, or not by who asks.
        """
        question = await self._read(self._site, self._caller, bytes(line.body))
        try:
            is_usual = question.is_length_usual
            question.draft = self._site.need_allowed(self._caller, question.draft, is_length_usual=is_usual)
        except NotAllowed as error:
            raise turned_away(error) from error
        return question

    async def _fault(self, number: int, raw: bytes, names: set[str]) -> LineFault | None:
        try:
            line = _line(raw)
            if line.custom_id in names:
                raise ApiError(400, f"The custom_id {line.custom_id!r} was used before.", code="duplicate_custom_id")
            if line.url != self._endpoint:
                message = f"The url is {line.url!r}, and the batch is for {self._endpoint!r}."
                raise ApiError(400, message, code="mismatched_url", param="url")
            names.add(line.custom_id)
            question = await self.question(line)
            if question.is_streamed:
                raise ApiError(400, "Requests of a batch are not streamed.", code="unsupported_value", param="stream")
            if question.is_background:
                message = "Requests of a batch are in no other background."
                raise ApiError(400, message, code="unsupported_value", param="background")
            if isinstance(question, ChatQuestion | CompletionQuestion) and question.choices > 1:
                raise ApiError(400, "A request of a batch has one answer.", code="unsupported_value", param="n")
        except ApiError as error:
            return _as_fault(number, error)
        return None


def _line(raw: bytes) -> Line:
    if len(raw) > _MOST_LINE_BYTES:
        raise ApiError(413, f"The line has more than {_MOST_LINE_BYTES:,} bytes.", code="line_too_long")
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"The line cannot be read: {error}.", code="invalid_json_line") from error


_decode: Final = msgspec.json.Decoder(Line).decode


def _as_fault(number: int, error: Exception) -> LineFault:
    known = from_exception(error)
    message, code, param = (str(error), None, None) if known is None else (known.message, known.code, known.param)
    return LineFault(line=number, code=code or "invalid_request", message=message[:_MESSAGE_CHARS], param=param)


async def _lines(data: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Cut a file into its lines, counted from 1; empty ones are passed over, and count."""
    waiting, number = bytearray(), 0
    async for piece in data:
        waiting += piece
        while (end := waiting.find(b"\n")) >= 0:
            number += 1
            raw = bytes(waiting[:end]).strip()
            del waiting[: end + 1]
            if raw:
                yield number, raw
        if len(waiting) > _MOST_LINE_BYTES:
            # Long enough to be refused: the rest of it need not be kept.
            del waiting[_MOST_LINE_BYTES + 1 :]
    if raw := bytes(waiting).strip():
        yield number + 1, raw
