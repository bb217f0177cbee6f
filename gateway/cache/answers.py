"""An answer on its way into the cache, as its client reads it, and out of it again: the task's own events, shortened.

What is given again goes through the same code as what is read live, so it has the same form, whatever that becomes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from mesh.bus.answer import Step
from streams.cache.messages import CacheAnswer
from streams.codec import encode
from streams.events import TaskAssigned, TaskChunk, TaskEnded
from streams.subjects import MESH
from streams.tasks.task import Phase, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.subjects import TaskKey

_LONGEST_RUN: Final = 8192
"""Characters of plain text that are put together in one piece, and go out as one event of a stream."""
_PER_CHUNK: Final = 64
"""What a chunk takes besides its text, in bytes, more or less."""
_KEPT_REASONS: Final = frozenset({"stop", "length"})


class Recorder:
    """Takes down what a reader sees of a task."""

    def __init__(self, most_bytes: int) -> None:
        """Give up on answers that are longer."""
        self._most_bytes = most_bytes
        self._size = 0
        self._chunks: list[TaskChunk] = []
        self._run: list[TaskChunk] = []
        self.state = TaskState()
        """What the task was when it was last looked at."""

    @property
    def has_failed(self) -> bool:
        """Whether the task has ended without a whole answer."""
        return self.state.is_over and self.state.outcome != "completed"

    def take(self, steps: Iterable[Step]) -> None:
        """Add what these steps say."""
        for step in steps:
            if isinstance(step.event, TaskChunk):
                self._add(step.event)
            elif step.restarts:
                self._size = 0
                self._chunks.clear()
                self._run.clear()
            self.state = step.state

    def answer(self, key: TaskKey, *, at_ms: int, until_ms: int, with_calls: bool) -> CacheAnswer | None:
        """Return the whole answer; None if there is none that may be given again.

        Calls of functions are asked for anew, unless ``with_calls``: what comes of them is not the model's to say.
        """
        state = self.state
        reason, usage = state.finish_reason, state.usage
        if state.outcome != "completed" or reason is None or usage is None or self._size > self._most_bytes:
            return None
        if reason not in _KEPT_REASONS and not with_calls:
            return None
        self._close_run()
        return CacheAnswer(
            account=key.account,
            task=key.task,
            at_ms=at_ms,
            until_ms=until_ms,
            n=state.n,
            model=state.model,
            chunks=tuple(self._chunks),
            finish_reason=reason,
            usage=usage,
        )

    def _add(self, chunk: TaskChunk) -> None:
        is_plain = _is_plain(chunk)
        self._size += len(chunk.text.encode("utf-8", "replace")) + _PER_CHUNK if is_plain else len(encode(chunk))
        if self._size > self._most_bytes:
            self._chunks.clear()
            self._run.clear()
        elif is_plain:
            self._run.append(chunk)
        else:
            self._close_run()
            self._chunks.append(replace(chunk, signature=None))

    def _close_run(self) -> None:
        pieces: list[TaskChunk] = []
        length = 0
        for chunk in self._run:
            if length + len(chunk.text) > _LONGEST_RUN and pieces:
                self._chunks.append(_joined(pieces))
                pieces, length = [], 0
            pieces.append(chunk)
            length += len(chunk.text)
        if pieces:
            self._chunks.append(_joined(pieces))
        self._run.clear()


def steps_of(answer: CacheAnswer) -> list[Step]:
    """What a reader of the task would have seen, as far as it matters to clients; the usage says it was cached."""
    begun = TaskAssigned(n=1, at_ms=answer.at_ms, attempt=1, node="", policy="", model=answer.model)
    ended = TaskEnded(n=answer.n, at_ms=answer.at_ms, outcome="completed")
    running = TaskState(n=1, phase=Phase.RUNNING, attempt=1, model=answer.model)
    last = replace(
        running,
        n=answer.n,
        phase=Phase.ENDED,
        chars=sum(chunk.length for chunk in answer.chunks),
        tokens=sum(chunk.tokens for chunk in answer.chunks),
        finish_reason=answer.finish_reason,
        usage=replace(answer.usage, cached_prompt_tokens=answer.usage.prompt_tokens),
        outcome="completed",
    )
    return [
        Step(begun, MESH, running),
        *(Step(chunk, "", running) for chunk in answer.chunks),
        Step(ended, MESH, last),
    ]


def _is_plain(chunk: TaskChunk) -> bool:
    """Whether it says nothing but text, whatever else a later version lets it say."""
    only_text = TaskChunk(n=chunk.n, attempt=chunk.attempt, offset=chunk.offset, text=chunk.text, tokens=chunk.tokens)
    return chunk == only_text


def _joined(pieces: list[TaskChunk]) -> TaskChunk:
    """One chunk that says what these say, under the counter of the last: who has that one has all of them."""
    first, last = pieces[0], pieces[-1]
    return TaskChunk(
        n=last.n,
        attempt=last.attempt,
        offset=first.offset,
        text="".join(piece.text for piece in pieces),
        tokens=sum(piece.tokens for piece in pieces),
    )
