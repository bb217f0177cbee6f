"""An answer that arrives: text as it is written, events as they are stored, and at last the result.

A task of its own reads the answer, so that whoever waits for it may time out, be cancelled or come twice and loses
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from msgspec import Struct

from mesh.bus.answer import AnswerText, follow
from mesh.errors import BusUnavailable, TaskCancelledError, TaskFailedError, TaskRefused
from streams.events import Outcome, TaskChunk, TaskError
from streams.tasks.answer_parts import TokenLogprob, ToolCallPiece
from streams.tasks.chat import FinishReason, ToolCall, Usage
from streams.tasks.task import TaskState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mesh.bus.answer import Step
    from mesh.bus.live import Watch
    from mesh.client.user_source import UserCalls, UserSource
    from streams.messages import CancelOutcome
    from streams.subjects import TaskKey


_BAD_REQUEST: Final = 400


class Piece(NamedTuple):
    """Some text of the answer; ``client.resume(task, after=piece.n)`` goes on behind it."""

    text: str
    tokens: int
    n: int
    restarts: bool = False
    """The answer begins again: drop all text before this piece, which has none itself. Rare; see docs/client.md."""
    tool_calls: tuple[ToolCallPiece, ...] = ()
    """What its calls of functions have grown by, behind ``text``."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """How likely the tokens of ``text`` were, where that was asked for."""


class AnswerResult(Struct, frozen=True, kw_only=True):
    """How a task ended. ``text`` is all that was written, the whole answer only where ``outcome`` is ``completed``."""

    task: str
    outcome: Outcome
    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    node: str | None = None
    """The node that wrote last."""
    error: TaskError | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    """The functions that it calls."""
    logprobs: tuple[TokenLogprob, ...] = ()
    vectors: tuple[bytes, ...] = ()
    """Those of a task that asked for them, as 32-bit floats; ``text`` is empty then."""


class Answer:
    """One task's answer. Iterate it for text; made by ``Client.submit`` and ``Client.resume``."""

    def __init__(
        self, source: UserSource, calls: UserCalls, key: TaskKey, *, after: int = 0, watch: Watch | None = None
    ) -> None:
        """Begin to read.

        Args:
            source: where to read.
            calls: how to cancel.
            key: which task.
            after: the last counter that the caller has: only what follows is handed out.
            watch: one that was opened before the task was submitted.
        """
        self._key = key
        self._calls = calls
        self._after = after
        self._steps: list[Step] = []
        self._text = AnswerText()
        self._begins_at = 0
        """Counter of the latest restart: text before it is void."""
        self._failure: Exception | None = None
        self._changed = asyncio.Event()
        self._reading = asyncio.create_task(self._read(source, watch), name=f"answer-{key.task}")

    @property
    def task(self) -> str:
        """The task's id: what ``resume``, ``cancel`` and ``ig3 explain`` take."""
        return self._key.task

    @property
    def state(self) -> TaskState:
        """What the task has become so far: its phase, its place in the queue, its node."""
        return self._steps[-1].state if self._steps else TaskState()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Yield the text as it arrives, each piece once.

        Where the answer begins again after text of it was handed out, a piece without text says so (``restarts``).

        Raises:
            TaskFailedError: if no whole answer comes; ``error.text`` is what was written until then.
            TaskCancelledError: if it was cancelled.
            TaskRefused: if the mesh knows no such task, or ``after`` lies ahead of its end.
            BusUnavailable: if the mesh stays away for longer than the client's patience.
        """
        has_text = self._after > 0
        async for step in self.events():
            event = step.event
            if isinstance(event, TaskChunk) and (event.text or event.tool_calls) and event.n > self._begins_at:
                has_text = True
                yield Piece(event.text, event.tokens, event.n, tool_calls=event.tool_calls, logprobs=event.logprobs)
            elif step.restarts and has_text and event.n == self._begins_at:
                yield Piece("", 0, event.n, restarts=True)
        self._check()

    async def events(self) -> AsyncIterator[Step]:
        """Yield every valid event of the task with what the task became by it, each once, in order, to its end.

        Raises:
            TaskRefused: if the mesh knows no such task, or ``after`` lies ahead of its end.
            BusUnavailable: if the mesh stays away for longer than the client's patience.
        """
        index = 0
        while True:
            while index < len(self._steps):
                step = self._steps[index]
                index += 1
                if step.state.n > self._after:
                    yield step
            if self._reading.done():
                break
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure
        if self._after > self.state.n:
            message = f"after={self._after} lies ahead of task {self.task}, which ended at {self.state.n}"
            raise TaskRefused(message, code="invalid_value", status=_BAD_REQUEST)

    async def result(self, *, check: bool = True) -> AnswerResult:
        """Wait for the end and return the whole answer.

        Args:
            check: raise unless the task completed; without it, look at ``outcome`` yourself.

        Raises:
            TaskFailedError: if no whole answer came.
            TaskCancelledError: if it was cancelled.
            TaskRefused: if the mesh knows no such task, or ``after`` lies ahead of its end.
            BusUnavailable: if the mesh stays away for longer than the client's patience.
        """
        async for _ in self.events():
            pass
        if check:
            self._check()
        return self._result()

    async def cancel(self, reason: str = "cancelled by the client") -> CancelOutcome:
        """Tell the mesh that the answer is no longer wanted; returns how the task ended.

        Raises:
            BusUnavailable: if nobody answers.
        """
        return await self._calls.cancel(self._key.task, reason)

    def when_read(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once nothing more will be read."""
        self._reading.add_done_callback(lambda _: callback())

    async def close(self) -> None:
        """Stop reading; the task itself goes on and can be resumed."""
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading

    async def __aenter__(self) -> Self:
        """Read inside an ``async with`` block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop reading."""
        await self.close()

    async def _read(self, source: UserSource, watch: Watch | None) -> None:
        try:
            async for steps in follow(source, self._key, watch=watch):
                self._take(steps)
                self._wake()
        except Exception as error:
            # Nothing is lost: whoever waits for the answer gets it.
            self._failure = error
        except asyncio.CancelledError:
            self._failure = BusUnavailable(f"nobody reads task {self.task} any more: resume it with a client")
            raise
        finally:
            asyncio.get_running_loop().call_soon(self._wake)

    def _take(self, steps: list[Step]) -> None:
        self._steps += steps
        self._text.take(steps)
        self._begins_at = max((step.event.n for step in steps if step.restarts), default=self._begins_at)

    def _wake(self) -> None:
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()

    def _check(self) -> None:
        result = self._result()
        if result.outcome == "completed":
            return
        error = result.error or _UNEXPLAINED[result.outcome]
        kind = TaskCancelledError if result.outcome == "cancelled" else TaskFailedError
        raise kind(error.message, task=self.task, code=error.code, status=error.status, text=result.text)

    def _result(self) -> AnswerResult:
        state = self.state
        if state.outcome is None:
            raise BusUnavailable(f"task {self.task} has not ended")
        return AnswerResult(
            task=self.task,
            outcome=state.outcome,
            text=str(self._text),
            finish_reason=state.finish_reason,
            usage=state.usage,
            node=state.node,
            error=state.error,
            tool_calls=self._text.tool_calls,
            logprobs=self._text.logprobs,
            vectors=self._text.vectors,
        )


_UNEXPLAINED: Final = {
    "cancelled": TaskError(code="task_cancelled", message="the task was cancelled", status=499),
    "failed": TaskError(code="task_failed", message="the task failed, and the mesh gave no reason", status=500),
    "dead": TaskError(code="task_dead", message="the task was given up, and the mesh gave no reason", status=500),
}
