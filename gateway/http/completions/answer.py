"""What comes back from ``POST /v1/completions``: OpenAI's objects, whole or as server-sent events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Struct

from gateway.http.chat.answer import DONE, FINGERPRINT, UsageObject, usage_object
from gateway.http.errors import from_end
from streams.events import TaskChunk, TaskEnded
from streams.tasks.task_id import created_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.http.errors import ApiError
    from mesh.bus.answer import AnswerText, Step
    from streams.tasks.answer_parts import TokenLogprob
    from streams.tasks.task import TaskState
    from streams.tokens import Token


class CompletionLogprobs(Struct, frozen=True, kw_only=True):
    """How likely the tokens of a text were."""

    tokens: tuple[str, ...]
    token_logprobs: tuple[float, ...]
    top_logprobs: tuple[dict[str, float], ...]
    text_offset: tuple[int, ...]


class CompletionChoice(Struct, frozen=True, kw_only=True):
    """One answer."""

    text: str
    index: int = 0
    logprobs: CompletionLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None


class Completion(Struct, frozen=True, kw_only=True):
    """A whole answer, and each chunk of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str = FINGERPRINT
    choices: tuple[CompletionChoice, ...]
    usage: UsageObject | None


_encode: Final = msgspec.json.Encoder().encode


def choice_of(answer: AnswerText, state: TaskState, echoed: str, *, index: int = 0) -> CompletionChoice:
    """A completed task's answer, behind what is ``echoed``."""
    logprobs = _logprobs(answer.logprobs, 0)
    return CompletionChoice(text=echoed + str(answer), index=index, logprobs=logprobs, finish_reason=_finish(state))


def whole_completion(task: Token, model: str, choices: tuple[CompletionChoice, ...], state: TaskState) -> bytes:
    """Write all answers; ``state`` has the usage of all of them."""
    return _encode(_completion(task, model, choices, usage_object(state)))


class CompletionFrames:
    """Writes one answer's chunks; the last of each of the task's events has its counter as its ``id``."""

    last = DONE
    tells_failures = False

    def __init__(
        self, task: Token, model: str, *, include_usage: bool, echoed: str = "", part: int | None = None
    ) -> None:
        """Prepare.

        Args:
            task: whose id the chunks have.
            model: what was asked for.
            include_usage: whether the usage ends the stream.
            echoed: what stands before the answer.
            part: which of several answers this is, whose streams are one: it has no counters to go on behind, and
                neither usage nor end of its own.
        """
        self._part = part
        self._task = task
        self._model = model
        self._include_usage = include_usage
        self._echoed = echoed
        self.has_text = False

    def write(self, step: Step) -> bytes:
        """Write what a client is told of one event: nothing at all of markers."""
        event, state = step.event, step.state
        if isinstance(event, TaskChunk):
            return self._chunk(event, state)
        if not isinstance(event, TaskEnded):
            return b""
        if state.outcome != "completed":
            return self.failure(from_end(state), n=event.n)
        last = self._frame(state, text=self._begin(), finish_reason=_finish(state))
        if self._part is not None:
            return last
        return b"%b%bid: %d\n%b" % (last, self.usage(state), event.n, DONE)

    def usage(self, state: TaskState) -> bytes:
        """Write the chunk that has the usage; empty, where nobody wants it."""
        if not self._include_usage:
            return b""
        return b"data: %b\n\n" % _encode(_completion(self._task, self._name(state), (), usage_object(state)))

    def resume(self, steps: Sequence[Step]) -> None:
        """Begin behind what an earlier stream has told."""
        self.has_text = bool(steps) and steps[-1].state.chars > 0

    def skip(self, steps: Sequence[Step]) -> None:
        """Nothing that was void stays."""

    def restart(self, error: ApiError, steps: Sequence[Step]) -> bytes:
        """Write the event that ends a stream whose text is void since the last of ``steps``."""
        return self.failure(error, n=steps[-1].event.n)

    def comment(self, text: bytes) -> bytes:
        """Write what clients skip; no empty line may follow behind an event that has an id (``ChunkFrames``)."""
        return b": %b\n" % text if self.has_text else b": %b\n\n" % text

    def failure(self, error: ApiError, *, n: int | None = None) -> bytes:
        """Write the event that ends a stream whose answer does not come, in the shape that OpenAI's clients raise."""
        counter = b"" if n is None else b"id: %d\n" % n
        return b"%bdata: %b\n\n" % (counter, error.body())

    def _chunk(self, chunk: TaskChunk, state: TaskState) -> bytes:
        if not chunk.text and not chunk.logprobs:
            return b""
        text = self._begin() + chunk.text
        frame = self._frame(state, text=text, logprobs=_logprobs(chunk.logprobs, chunk.offset))
        return frame if self._part is not None else b"id: %d\n%b" % (chunk.n, frame)

    def _begin(self) -> str:
        """What stands before the first text."""
        before = "" if self.has_text else self._echoed
        self.has_text = True
        return before

    def _frame(
        self,
        state: TaskState,
        *,
        text: str,
        logprobs: CompletionLogprobs | None = None,
        finish_reason: Literal["stop", "length"] | None = None,
    ) -> bytes:
        choice = CompletionChoice(text=text, index=self._part or 0, logprobs=logprobs, finish_reason=finish_reason)
        return b"data: %b\n\n" % _encode(_completion(self._task, self._name(state), (choice,), None))

    def _name(self, state: TaskState) -> str:
        return state.model or self._model


def _completion(
    task: Token, model: str, choices: tuple[CompletionChoice, ...], usage: UsageObject | None
) -> Completion:
    return Completion(id=f"cmpl-{task}", created=created_ms(task) // 1000, model=model, choices=choices, usage=usage)


def _finish(state: TaskState) -> Literal["stop", "length"]:
    return "length" if state.finish_reason == "length" else "stop"


def _logprobs(tokens: Sequence[TokenLogprob], offset: int) -> CompletionLogprobs | None:
    """What there is to say of tokens that begin behind ``offset`` characters of the answer."""
    if not tokens:
        return None
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return CompletionLogprobs(
        tokens=tuple([token.token for token in tokens]),
        token_logprobs=tuple([token.logprob for token in tokens]),
        top_logprobs=tuple([{one.token: one.logprob for one in token.top} for token in tokens]),
        text_offset=tuple(offsets),
    )
