"""Writes the typed events of an Anthropic stream: blocks that begin, grow and end, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Raw, Struct

from gateway.http.errors import from_end
from gateway.http.messages.errors import error_body
from gateway.http.messages.objects import (
    Message,
    StopReason,
    TextBlock,
    ToolUseBlock,
    UsageObject,
    message_id,
    stop_reason_of,
    usage_of,
)
from streams.events import TaskChunk, TaskEnded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.http.errors import ApiError
    from mesh.bus.answer import Step
    from streams.tasks.answer_parts import ToolCallPiece
    from streams.tasks.task import TaskState
    from streams.tokens import Token

_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_encode: Final = msgspec.json.Encoder().encode


class MessageStart(Struct, frozen=True, kw_only=True, tag_field="type", tag="message_start"):
    """The answer begins; how long the prompt was is not known before its end."""

    message: Message


class BlockStart(Struct, frozen=True, kw_only=True, tag_field="type", tag="content_block_start"):
    """A block begins."""

    index: int
    content_block: TextBlock | ToolUseBlock


class TextDelta(Struct, frozen=True, kw_only=True, tag_field="type", tag="text_delta"):
    """What a text has grown by."""

    text: str


class InputDelta(Struct, frozen=True, kw_only=True, tag_field="type", tag="input_json_delta"):
    """What the JSON of a call has grown by."""

    partial_json: str


class BlockDelta(Struct, frozen=True, kw_only=True, tag_field="type", tag="content_block_delta"):
    """A block grows."""

    index: int
    delta: TextDelta | InputDelta


class BlockStop(Struct, frozen=True, kw_only=True, tag_field="type", tag="content_block_stop"):
    """A block is whole."""

    index: int


class Stopped(Struct, frozen=True, kw_only=True):
    """Why the answer ends."""

    stop_reason: StopReason
    stop_sequence: None = None


class MessageDelta(Struct, frozen=True, kw_only=True, tag_field="type", tag="message_delta"):
    """The answer is whole."""

    delta: Stopped
    usage: UsageObject


class MessageStop(Struct, frozen=True, kw_only=True, tag_field="type", tag="message_stop"):
    """The stream is whole."""


MessageEvent = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop
_NAMES: Final[dict[type[MessageEvent], bytes]] = {
    kind: str(kind.__struct_config__.tag).encode()
    for kind in (MessageStart, BlockStart, BlockDelta, BlockStop, MessageDelta, MessageStop)
}


class MessageFrames:
    """Writes one answer's stream. The last event of each of the task's events has its counter as its ``id``."""

    last = _PING
    tells_failures = False

    def __init__(self, task: Token, model: str) -> None:
        """Prepare; ``model`` is what was asked for."""
        self._task = task
        self._model = model
        self._written: list[bytes] = []
        self._begin()

    def _begin(self) -> None:
        self.has_text = False
        self._blocks = 0
        """How many blocks have begun; the last may be open."""
        self._open: Literal["text", "call"] | None = None
        self._call = -1
        """Which call the open block is."""

    def write(self, step: Step) -> bytes:
        """Write what a client is told of one event: nothing at all of most markers."""
        event = step.event
        if isinstance(event, TaskEnded) and step.state.outcome != "completed":
            return self.failure(from_end(step.state), n=event.n)
        self._take(step)
        written, self._written = self._written, []
        if not written:
            return b""
        written[-1] = b"id: %d\n%b" % (event.n, written[-1])
        return b"".join(written)

    def resume(self, steps: Sequence[Step]) -> None:
        """Take note of which blocks the client has."""
        for step in steps:
            if step.restarts:
                self._begin()
            self._take(step)
        self._written.clear()

    def skip(self, steps: Sequence[Step]) -> None:
        """Nothing that was void stays: nothing of it was sent."""

    def restart(self, error: ApiError, steps: Sequence[Step]) -> bytes:
        """Write the event that ends a stream whose text is void since the last of ``steps``."""
        return self.failure(error, n=steps[-1].event.n)

    def comment(self, text: bytes) -> bytes:
        """Write what clients skip: Anthropic has an event for that."""
        del text
        return _PING

    def failure(self, error: ApiError, *, n: int | None = None) -> bytes:
        """Write the event that ends a stream whose answer does not come."""
        counter = b"" if n is None else b"id: %d\n" % n
        return b"%bevent: error\ndata: %b\n\n" % (counter, error_body(error))

    def _take(self, step: Step) -> None:
        event = step.event
        if isinstance(event, TaskChunk):
            if event.text:
                self._add_text(event.text, step.state)
            for piece in event.tool_calls:
                self._add_call(piece, step.state)
        elif isinstance(event, TaskEnded):
            self._end(step.state)

    def _add_text(self, text: str, state: TaskState) -> None:
        if self._open != "text":
            self._open_block(TextBlock(text=""), state)
            self._open = "text"
        self._event(BlockDelta(index=self._blocks - 1, delta=TextDelta(text=text)))

    def _add_call(self, piece: ToolCallPiece, state: TaskState) -> None:
        if self._open != "call" or self._call != piece.index:
            if piece.name is None:
                # Nobody can answer a call of no name (as in ``AnswerText``).
                return
            block = ToolUseBlock(id=piece.id or f"call_{piece.index}", name=piece.name, input=Raw(b"{}"))
            self._open_block(block, state)
            self._open, self._call = "call", piece.index
        if piece.arguments:
            self._event(BlockDelta(index=self._blocks - 1, delta=InputDelta(partial_json=piece.arguments)))

    def _open_block(self, block: TextBlock | ToolUseBlock, state: TaskState) -> None:
        if not self.has_text:
            self.has_text = True
            usage = UsageObject(input_tokens=0, output_tokens=0)
            model = state.model or self._model
            begun = Message(id=message_id(self._task), model=model, content=(), stop_reason=None, usage=usage)
            self._event(MessageStart(message=begun))
        self._close_block()
        self._event(BlockStart(index=self._blocks, content_block=block))
        self._blocks += 1

    def _close_block(self) -> None:
        if self._open is not None:
            self._event(BlockStop(index=self._blocks - 1))
            self._open = None

    def _end(self, state: TaskState) -> None:
        if not self._blocks:
            self._open_block(TextBlock(text=""), state)
            self._open = "text"
        self._close_block()
        self._event(MessageDelta(delta=Stopped(stop_reason=stop_reason_of(state)), usage=usage_of(state)))
        self._event(MessageStop())

    def _event(self, event: MessageEvent) -> None:
        self._written.append(b"event: %b\ndata: %b\n\n" % (_NAMES[type(event)], _encode(event)))
