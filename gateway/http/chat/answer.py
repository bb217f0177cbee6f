"""What comes back from ``POST /v1/chat/completions``: OpenAI's objects, whole or as server-sent events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gateway.http.chat.logprobs import LogprobsObject, logprobs_object
from gateway.http.errors import ApiError, from_end
from gateway.http.file_search.objects import FileCitation, annotations_of
from streams.events import TaskAssigned, TaskChunk, TaskEnded, TaskQueued
from streams.tasks.chat import FinishReason, Usage
from streams.tasks.task_id import created_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.bus.answer import AnswerText, Step
    from streams.tasks.answer_parts import ToolCallPiece
    from streams.tasks.grounding import Grounding
    from streams.tasks.task import TaskState
    from streams.tokens import Token

FINGERPRINT: Final = "fp_ig3_1"
"""``system_fingerprint``: the form of what is written here, which changes when the same events give other bytes.

Not the process or its version: a repeat under an idempotency key gets the same bytes from any gateway (ADR 9)."""

_FINGERPRINT_FIELD: Final = f'"system_fingerprint":"{FINGERPRINT}",'.encode()
DONE: Final = b"data: [DONE]\n\n"


class PromptDetails(Struct, frozen=True, kw_only=True):
    """``usage.prompt_tokens_details``."""

    cached_tokens: int
    audio_tokens: int = 0


class UsageObject(Struct, frozen=True, kw_only=True):
    """OpenAI's ``usage``."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class CalledFunction(Struct, frozen=True, kw_only=True):
    """``tool_calls[].function``."""

    name: str
    arguments: str


class CalledTool(Struct, frozen=True, kw_only=True):
    """``tool_calls[]``."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AnswerMessage(Struct, frozen=True, kw_only=True):
    """The message of a whole answer."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    """None, where it only calls functions."""
    refusal: None = None
    tool_calls: tuple[CalledTool, ...] | UnsetType = UNSET
    annotations: tuple[FileCitation, ...] | UnsetType = UNSET
    """What it rests on, where files were searched."""


class Choice(Struct, frozen=True, kw_only=True):
    """One choice of a whole answer."""

    index: int = 0
    message: AnswerMessage
    logprobs: LogprobsObject | None = None
    finish_reason: FinishReason


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: UsageObject
    system_fingerprint: str = FINGERPRINT


_encode: Final = msgspec.json.Encoder().encode


def completion_id(task: Token) -> str:
    """The id under which OpenAI's clients know a task."""
    return f"chatcmpl-{task}"


def whole_answer(
    task: Token, model: str, answer: AnswerText, state: TaskState, grounding: Grounding | None = None
) -> bytes:
    """Write a completed task's answer."""
    return whole_answers(task, model, (choice_of(answer, state, grounding=grounding),), state)


def whole_answers(task: Token, model: str, choices: tuple[Choice, ...], state: TaskState) -> bytes:
    """Write an answer of several choices; ``state`` has the usage of all of them."""
    completion = ChatCompletion(
        id=completion_id(task),
        created=created_ms(task) // 1000,
        model=model,
        choices=choices,
        usage=usage_object(state),
    )
    return _encode(completion)


def choice_of(answer: AnswerText, state: TaskState, *, index: int = 0, grounding: Grounding | None = None) -> Choice:
    """What a completed task has answered, as one choice."""
    calls = tuple(
        CalledTool(id=call.id, function=CalledFunction(name=call.name, arguments=call.arguments))
        for call in answer.tool_calls
    )
    text = str(answer)
    return Choice(
        index=index,
        message=AnswerMessage(
            content=text if text or not calls else None,
            tool_calls=calls or UNSET,
            annotations=UNSET if grounding is None else annotations_of(text, grounding),
        ),
        logprobs=logprobs_object(answer.logprobs),
        finish_reason=state.finish_reason or "stop",
    )


def usage_object(state: TaskState) -> UsageObject:
    """The usage of a completed task."""
    usage = state.usage or Usage(prompt_tokens=0, completion_tokens=state.tokens)
    return UsageObject(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=PromptDetails(cached_tokens=usage.cached_prompt_tokens),
    )


class ChunkFrames:
    """Writes one answer's server-sent events; what stays the same in each chunk is written once.

    An event's ``id`` is the task's counter ``n``. Where several events come of one, only the last of them has it, so
    that a client that goes on behind an id has had all before it.
    """

    last = DONE
    tells_failures = False

    def __init__(self, task: Token, model: str, *, include_usage: bool, part: int | None = None) -> None:
        """Prepare.

        Args:
            task: whose id the chunks have.
            model: what was asked for, and answers unless an assignment says otherwise.
            include_usage: whether the usage ends the stream.
            part: which of several choices this is, whose streams are one: it has no counters to go on behind, and
                neither usage nor end of its own.
        """
        self._task = task
        self._part = part
        self._index = b'{"index":%d,"delta":' % (part or 0)
        self._no_usage = b',"usage":null' if include_usage else b""
        self._tail = b'},"logprobs":null,"finish_reason":null}]' + self._no_usage + b"}\n\n"
        self._include_usage = include_usage
        self._is_first = True
        self.has_text = False
        """Whether the client has some of the answer, by this stream or by an earlier one."""
        self.answers_with(model)

    def answers_with(self, model: str) -> None:
        """Prepare the parts that stay the same in each chunk of a model."""
        head = b'data: {"id":"%b","object":"chat.completion.chunk","created":%d,"model":%b,%b"choices":[' % (
            completion_id(self._task).encode(),
            created_ms(self._task) // 1000,
            _encode(model),
            _FINGERPRINT_FIELD,
        )
        self._head = head
        self._content = head + self._index + b'{"content":'

    def write(self, step: Step) -> bytes:
        """Write what a client is told of one event: nothing at all of most markers."""
        event = step.event
        if isinstance(event, TaskChunk):
            return self._chunk(event)
        if isinstance(event, TaskQueued):
            return self.comment(b"queued position=%d reason=%b" % (event.position, _one_line(event.reason)))
        if isinstance(event, TaskAssigned) and event.model is not None:
            self.answers_with(event.model)
        return self._end(event.n, step.state) if isinstance(event, TaskEnded) else b""

    def go_on(self, *, has_text: bool, model: str | None = None) -> None:
        """Begin behind what an earlier stream has told, of an answer that ``model`` writes if that is not as asked."""
        if model is not None:
            self.answers_with(model)
        self.has_text = has_text
        self._is_first = not has_text

    def resume(self, steps: Sequence[Step]) -> None:
        """Begin behind what an earlier stream has told."""
        if steps:
            state = steps[-1].state
            # A call may have been begun of which no character of its arguments is there.
            self.go_on(has_text=state.chars > 0 or state.tokens > 0, model=state.model)

    def skip(self, steps: Sequence[Step]) -> None:
        """Nothing that was void stays."""

    def restart(self, error: ApiError, steps: Sequence[Step]) -> bytes:
        """Write the event that ends a stream whose text is void since the last of ``steps``."""
        return self.failure(error, n=steps[-1].event.n)

    def comment(self, text: bytes) -> bytes:
        """Write what clients skip.

        Behind an event that has an id no empty line may follow: OpenAI's clients take it for an event without data,
        and fail.
        """
        return b": %b\n" % text if self.has_text else b": %b\n\n" % text

    def failure(self, error: ApiError, *, n: int | None = None) -> bytes:
        """Write the event that ends a stream whose answer does not come, in the shape that OpenAI's clients raise."""
        counter = b"" if n is None else b"id: %d\n" % n
        return b"%bdata: %b\n\n" % (counter, error.body())

    def _chunk(self, chunk: TaskChunk) -> bytes:
        if not chunk.text and not chunk.tool_calls and not chunk.logprobs:
            return b""
        self.has_text = True
        begin = self._role(is_silent=not chunk.text) if self._is_first else b""
        if not chunk.tool_calls and not chunk.logprobs:
            return b"%b%b%b%b%b" % (begin, self._counter(chunk.n), self._content, _encode(chunk.text), self._tail)
        delta = _Delta(
            content=UNSET if chunk.tool_calls and not chunk.text else chunk.text,
            tool_calls=tuple(map(_called, chunk.tool_calls)) or UNSET,
        )
        return b'%b%b%b%b%b,"logprobs":%b,"finish_reason":null}]%b}\n\n' % (
            begin,
            self._counter(chunk.n),
            self._head,
            self._index,
            _encode(delta),
            _encode(logprobs_object(chunk.logprobs)),
            self._no_usage,
        )

    def _role(self, *, is_silent: bool = False) -> bytes:
        self._is_first = False
        content = b"null" if is_silent else b'""'
        delta = b'{"role":"assistant","content":%b,"refusal":null' % content
        return self._head + self._index + delta + self._tail

    def _counter(self, n: int) -> bytes:
        return b"id: %d\n" % n if self._part is None else b""

    def beside_text(self) -> bytes:
        """Write what comes behind the text and before the end."""
        return b""

    def delta(self, fields: bytes) -> bytes:
        """Write a chunk of other things than text."""
        return b"%b%b{%b%b" % (self._head, self._index, fields, self._tail)

    def _end(self, n: int, state: TaskState) -> bytes:
        if state.outcome != "completed":
            return self.failure(from_end(state), n=n)
        role = (self._role() if self._is_first else b"") + self.beside_text()
        finish = _encode(state.finish_reason or "stop")
        last = b'%b%b{},"logprobs":null,"finish_reason":%b}]%b}\n\n' % (
            self._head,
            self._index,
            finish,
            self._no_usage,
        )
        if self._part is not None:
            return role + last
        return b"%b%b%bid: %d\n%b" % (role, last, self.usage(state), n, DONE)

    def usage(self, state: TaskState) -> bytes:
        """Write the chunk that has the usage; empty, where nobody wants it."""
        return self._head + b'],"usage":' + _encode(usage_object(state)) + b"}\n\n" if self._include_usage else b""


def _one_line(text: str) -> bytes:
    return " ".join(text.split()).encode("utf-8", "replace")


class _FunctionDelta(Struct, frozen=True, kw_only=True):
    name: str | UnsetType
    arguments: str


class _CallDelta(Struct, frozen=True, kw_only=True):
    index: int
    id: str | UnsetType
    type: Literal["function"] | UnsetType
    function: _FunctionDelta


class _Delta(Struct, frozen=True, kw_only=True):
    content: str | UnsetType
    tool_calls: tuple[_CallDelta, ...] | UnsetType


def _called(piece: ToolCallPiece) -> _CallDelta:
    begins = piece.name is not None
    return _CallDelta(
        index=piece.index,
        id=(piece.id or f"call_{piece.index}") if begins else UNSET,
        type="function" if begins else UNSET,
        function=_FunctionDelta(name=UNSET if piece.name is None else piece.name, arguments=piece.arguments),
    )
