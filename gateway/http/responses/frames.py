"""Writes the typed events of a response. Their numbers follow from the task's events alone, so any gateway goes on.

Every task event that a client is told of gives the same events with the same numbers, whoever reads, from wherever and
in whatever portions; so ``starting_after`` means the same at every gateway. A restart (ADR 8) has a number too, that of
the error that ends the streams which had text of what is void; behind it all begins again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from gateway.http.file_search.objects import annotations_of, search_calls
from gateway.http.responses.events import (
    SEARCH_KINDS,
    AnnotationAdded,
    ArgumentsDelta,
    ArgumentsDone,
    ErrorEvent,
    ItemEvent,
    PartEvent,
    ResponseEvent,
    SearchEvent,
    TextDone,
)
from gateway.http.responses.objects import OutputText, call_item, item_id, message_item, response_of
from mesh.bus.answer import AnswerText
from streams.events import TaskAccepted, TaskAssigned, TaskChunk, TaskEnded, TaskQueued
from streams.tasks.chat import ToolCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.http.errors import ApiError
    from gateway.http.file_search.objects import FileCitation
    from gateway.http.responses.events import ItemKind, PartKind, StreamEvent, Whole
    from gateway.http.responses.objects import ItemStatus, OutputItem, Response
    from mesh.bus.answer import Step
    from streams.events import TaskSubmitted
    from streams.tasks.answer_parts import ToolCallPiece
    from streams.tasks.response_terms import ResponseTerms
    from streams.tasks.task import TaskState
    from streams.tokens import Token

_ENDS: Final[dict[str, Whole]] = {"completed": "response.completed", "incomplete": "response.incomplete"}

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
            b'"content_index":0,"logprobs":[],"delta":' % self._item_id.encode()
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
        self._is_created = self._is_queued = self._is_running = False
        self._searches = 0
        """How many of the items are searches of files, which were over before the task was asked."""
        self._answer = AnswerText()
        self._items = 0
        """How many items of the output have begun."""
        self._message_at: int | None = None
        self._calls_at: dict[int, int] = {}
        """Which item each call is; the last has not ended yet."""

    def _void(self) -> None:
        self.next_number += 1
        self.has_text = False
        self._begin()

    def _take(self, step: Step) -> None:
        event, state = step.event, step.state
        if not self._is_created:
            self._is_created = True
            now = response_of(self._task, self._asked, self._terms, self._answer, state)
            # Clients add the items to it as they come.
            self._whole("response.created", state, replace(now, output=()))
            self._search()
        if isinstance(event, TaskChunk):
            self._add(step, event)
        elif isinstance(event, TaskQueued | TaskAccepted) and not self._is_queued:
            self._is_queued = True
            self._whole("response.queued", state)
        elif isinstance(event, TaskAssigned) and not self._is_running:
            self._is_running = True
            self._whole("response.in_progress", state)
        elif isinstance(event, TaskEnded):
            self._end(state)

    # --- the output ------------------------------------------------------------------------------------------------

    def _add(self, step: Step, chunk: TaskChunk) -> None:
        self._answer.take([step])
        if chunk.text:
            at = self._open_message()
            number = self._number()
            if number > self._after:
                frame = b'%b%b,"output_index":%d,"sequence_number":%d}\n\n'
                self._written.append(frame % (self._delta, _encode(chunk.text), at, number))
        for piece in chunk.tool_calls:
            self._add_call(piece)
        self.has_text = self.has_text or self._items > self._searches

    def _search(self) -> None:
        """Tell of the searches, which were over before the task was asked."""
        grounding = self._asked.grounding
        if grounding is None:
            return
        begun = search_calls(self._task, grounding, is_over=False)
        self._searches = len(begun)
        for item, done in zip(begun, search_calls(self._task, grounding), strict=True):
            at = self._next_item()
            self._item("response.output_item.added", at, item)
            for kind in SEARCH_KINDS:
                self._event(SearchEvent(type=kind, item_id=item.id, output_index=at, sequence_number=self._number()))
            self._item("response.output_item.done", at, done)

    def _add_call(self, piece: ToolCallPiece) -> None:
        at = self._calls_at.get(piece.index)
        if at is None:
            if piece.name is None:
                # Nobody can answer a call of no name (as in ``AnswerText``).
                return
            self._close_call("completed")
            at = self._calls_at[piece.index] = self._next_item()
            begun = ToolCall(id=piece.id or f"call_{piece.index}", name=piece.name, arguments="")
            item = call_item(self._task, len(self._calls_at) - 1, begun, "in_progress")
            self._item("response.output_item.added", at, item)
        if piece.arguments:
            name, number = f"fc_{self._task}_{len(self._calls_at) - 1}", self._number()
            self._event(ArgumentsDelta(item_id=name, output_index=at, delta=piece.arguments, sequence_number=number))

    def _close_call(self, status: ItemStatus) -> None:
        if not self._calls_at:
            return
        at, index = list(self._calls_at.values())[-1], len(self._calls_at) - 1
        item = call_item(self._task, index, self._answer.tool_calls[index], status)
        number = self._number()
        self._event(
            ArgumentsDone(
                item_id=item.id, output_index=at, name=item.name, arguments=item.arguments, sequence_number=number
            )
        )
        self._item("response.output_item.done", at, item)

    def _open_message(self) -> int:
        if self._message_at is None:
            self._message_at = self._next_item()
            self._item("response.output_item.added", self._message_at, message_item(self._task, "", "in_progress"))
            self._part("response.content_part.added", "")
        return self._message_at

    def _close_message(self, status: ItemStatus) -> None:
        if self._message_at is None:
            return
        text = str(self._answer)
        annotations = annotations_of(text, self._asked.grounding)
        for index, annotation in enumerate(annotations):
            self._annotation(index, annotation)
        number = self._number()
        self._event(TextDone(item_id=self._item_id, output_index=self._message_at, text=text, sequence_number=number))
        self._part("response.content_part.done", text, annotations)
        item = message_item(self._task, text, status, annotations)
        self._item("response.output_item.done", self._message_at, item)

    def _next_item(self) -> int:
        self._items += 1
        return self._items - 1

    def _end(self, state: TaskState) -> None:
        response = response_of(self._task, self._asked, self._terms, self._answer, state)
        if state.outcome == "completed":
            status: ItemStatus = "completed" if response.status == "completed" else "incomplete"
            self._close_call(status)
            if self._items == self._searches:
                self._open_message()
            self._close_message(status)
        self._whole(_ENDS.get(response.status, "response.failed"), state, response)

    # --- events ----------------------------------------------------------------------------------------------------

    def _whole(self, kind: Whole, state: TaskState, response: Response | None = None) -> None:
        now = response or response_of(self._task, self._asked, self._terms, self._answer, state)
        self._event(ResponseEvent(type=kind, response=now, sequence_number=self._number()))

    def _item(self, kind: ItemKind, at: int, item: OutputItem) -> None:
        self._event(ItemEvent(type=kind, output_index=at, item=item, sequence_number=self._number()))

    def _annotation(self, index: int, annotation: FileCitation) -> None:
        at, number = self._message_at or 0, self._number()
        self._event(
            AnnotationAdded(
                item_id=self._item_id,
                output_index=at,
                annotation_index=index,
                annotation=annotation,
                sequence_number=number,
            )
        )

    def _part(self, kind: PartKind, text: str, annotations: tuple[FileCitation, ...] = ()) -> None:
        part, at = OutputText(text=text, annotations=annotations), self._message_at or 0
        self._event(
            PartEvent(type=kind, item_id=self._item_id, output_index=at, part=part, sequence_number=self._number())
        )

    def _number(self) -> int:
        self.next_number += 1
        return self.next_number - 1

    def _event(self, event: StreamEvent) -> None:
        if event.sequence_number > self._after:
            self._written.append(b"event: %b\ndata: %b\n\n" % (event.type.encode(), _encode(event)))

    def _error(self, error: ApiError, number: int, counter: bytes) -> bytes:
        detail = error.detail()
        event = ErrorEvent(code=detail.code, message=detail.message, param=detail.param, sequence_number=number)
        return b"%bevent: error\ndata: %b\n\n" % (counter, _encode(event))
