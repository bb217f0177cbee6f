"""The typed events of a response. Their numbers follow from the task's events alone, so any gateway goes on with them.

Every task event that a client is told of gives the same events with the same numbers, whoever reads, from wherever and
in whatever portions; so ``starting_after`` means the same at every gateway. A restart (ADR 8) has a number too, that of
the error that ends the streams which had text of what is void; behind it all begins again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Struct

from gateway.http.responses.objects import (
    OutputMessage,
    OutputText,
    Response,
    item_id,
    message_item,
    response_of,
)
from streams.events import TaskAccepted, TaskAssigned, TaskChunk, TaskEnded, TaskQueued

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.http.errors import ApiError
    from mesh.bus.answer import Step
    from streams.events import TaskSubmitted
    from streams.response_terms import ResponseTerms
    from streams.task import TaskState
    from streams.tokens import Token

Whole = Literal[
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.completed",
    "response.incomplete",
    "response.failed",
]
_ENDS: Final[dict[str, Whole]] = {"completed": "response.completed", "incomplete": "response.incomplete"}


class ResponseEvent(Struct, frozen=True, kw_only=True):
    """How the whole response stands."""

    type: Whole
    response: Response
    sequence_number: int


class ItemEvent(Struct, frozen=True, kw_only=True):
    """An item of the output begins, or is whole."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int = 0
    item: OutputMessage
    sequence_number: int


class PartEvent(Struct, frozen=True, kw_only=True):
    """A part of a message begins, or is whole."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    item_id: str
    output_index: int = 0
    content_index: int = 0
    part: OutputText
    sequence_number: int


class TextDelta(Struct, frozen=True, kw_only=True):
    """What the text has grown by."""

    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    item_id: str
    output_index: int = 0
    content_index: int = 0
    delta: str
    logprobs: tuple[None, ...] = ()
    sequence_number: int


class TextDone(Struct, frozen=True, kw_only=True):
    """The text is whole."""

    type: Literal["response.output_text.done"] = "response.output_text.done"
    item_id: str
    output_index: int = 0
    content_index: int = 0
    text: str
    logprobs: tuple[None, ...] = ()
    sequence_number: int


class ErrorEvent(Struct, frozen=True, kw_only=True):
    """The stream ends here, for a reason that is no end of the response."""

    type: Literal["error"] = "error"
    code: str | None
    message: str
    param: str | None
    sequence_number: int


StreamEvent = ResponseEvent | ItemEvent | PartEvent | TextDelta | TextDone | ErrorEvent

_encode: Final = msgspec.json.Encoder().encode


class ResponseFrames:
    """Writes one response's stream."""

    last = b": that was all\n\n"

    def __init__(
        self, task: Token, asked: TaskSubmitted, terms: ResponseTerms, *, after: int = -1, tells_failures: bool = False
    ) -> None:
        """Prepare; events up to the number ``after`` are counted and not written."""
        self._task = task
        self._asked = asked
        self._terms = terms
        self._after = after
        self.tells_failures = tells_failures
        self.has_text = False
        self.next_number = 0
        """The number of the next event."""
        self._has_id = False
        self._written: list[bytes] = []
        self._item_id = item_id(task)
        self._delta = (
            b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":"%b",'
            b'"output_index":0,"content_index":0,"delta":' % self._item_id.encode()
        )
        self._begin()

    def write(self, step: Step) -> bytes:
        """Write what a client is told of one event; only the last of several events has the id."""
        self._take(step)
        written, self._written = self._written, []
        if not written:
            return b""
        self._has_id = True
        written[-1] = b"id: %d\n%b" % (step.event.n, written[-1])
        return b"".join(written)

    def resume(self, steps: Sequence[Step]) -> None:
        """Count what an earlier stream has told."""
        for step in steps:
            if step.restarts:
                self._void()
            self._take(step)
        self._written.clear()

    def skip(self, steps: Sequence[Step]) -> None:
        """Count what is void, and the restart that made it so."""
        self.resume(steps)
        self._void()

    def restart(self, error: ApiError, steps: Sequence[Step]) -> bytes:
        """Write the event that ends a stream whose text is void since the last of ``steps``."""
        self.resume(steps[:-1])
        number = self.next_number
        self._void()
        return self._error(error, number, b"id: %d\n" % steps[-1].event.n) if number > self._after else b""

    def comment(self, text: bytes) -> bytes:
        """Write what clients skip; OpenAI's take an empty line behind an id for an event without data."""
        return b": %b\n" % text if self._has_id else b": %b\n\n" % text

    def failure(self, error: ApiError, *, n: int | None = None) -> bytes:
        """Write what ends this stream and no other: it has the number of the event before it, to go on behind."""
        return self._error(error, self.next_number - 1, b"" if n is None else b"id: %d\n" % n)

    def _begin(self) -> None:
        self._is_created = self._is_queued = self._is_running = self._has_item = False
        self._pieces: list[str] = []

    def _void(self) -> None:
        self.next_number += 1
        self.has_text = False
        self._begin()

    def _take(self, step: Step) -> None:
        event, state = step.event, step.state
        if not self._is_created:
            self._is_created = True
            self._whole("response.created", state)
        if isinstance(event, TaskChunk):
            self._add_text(event.text)
        elif isinstance(event, TaskQueued | TaskAccepted) and not self._is_queued:
            self._is_queued = True
            self._whole("response.queued", state)
        elif isinstance(event, TaskAssigned) and not self._is_running:
            self._is_running = True
            self._whole("response.in_progress", state)
        elif isinstance(event, TaskEnded):
            self._end(state)

    def _add_text(self, text: str) -> None:
        if not text:
            return
        self._open_item()
        self._pieces.append(text)
        self.has_text = True
        if (number := self._number()) is not None:
            frame = b'%b%b,"logprobs":[],"sequence_number":%d}\n\n' % (self._delta, _encode(text), number)
            self._written.append(frame)

    def _open_item(self) -> None:
        if self._has_item:
            return
        self._has_item = True
        self._item("response.output_item.added", message_item(self._task, "", "in_progress"))
        self._part("response.content_part.added", "")

    def _end(self, state: TaskState) -> None:
        text = "".join(self._pieces)
        response = response_of(self._task, self._asked, self._terms, text, state)
        if state.outcome == "completed":
            self._open_item()
            if (number := self._number()) is not None:
                self._event(TextDone(item_id=self._item_id, text=text, sequence_number=number))
            self._part("response.content_part.done", text)
            self._item("response.output_item.done", response.output[0])
        self._whole(_ENDS.get(response.status, "response.failed"), state, response)

    def _whole(self, kind: Whole, state: TaskState, response: Response | None = None) -> None:
        if (number := self._number()) is not None:
            now = response or response_of(self._task, self._asked, self._terms, "", state)
            self._event(ResponseEvent(type=kind, response=now, sequence_number=number))

    def _item(
        self, kind: Literal["response.output_item.added", "response.output_item.done"], item: OutputMessage
    ) -> None:
        if (number := self._number()) is not None:
            self._event(ItemEvent(type=kind, item=item, sequence_number=number))

    def _part(self, kind: Literal["response.content_part.added", "response.content_part.done"], text: str) -> None:
        if (number := self._number()) is not None:
            self._event(PartEvent(type=kind, item_id=self._item_id, part=OutputText(text=text), sequence_number=number))

    def _number(self) -> int | None:
        """Count an event; None if it is not to be written."""
        number = self.next_number
        self.next_number += 1
        return number if number > self._after else None

    def _event(self, event: ResponseEvent | ItemEvent | PartEvent | TextDone) -> None:
        self._written.append(b"event: %b\ndata: %b\n\n" % (event.type.encode(), _encode(event)))

    def _error(self, error: ApiError, number: int, counter: bytes) -> bytes:
        detail = error.detail()
        event = ErrorEvent(code=detail.code, message=detail.message, param=detail.param, sequence_number=number)
        return b"%bevent: error\ndata: %b\n\n" % (counter, _encode(event))
