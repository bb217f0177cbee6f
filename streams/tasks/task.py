"""The task aggregate: what a task's events add up to, and which of them count.

One pure rule, used by readers, dispatcher and ledger alike (DESIGN, "Life of a task", 6): an event counts only if its
writer and attempt are those of the latest service-written marker before it, and its ``n`` is next. The broker's fence
makes a stale writer stop; this rule makes one that does not stop harmless.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from streams.events import (
    AttemptFailure,
    AttemptShare,
    EndEvent,
    Outcome,
    Seam,
    TaskAccepted,
    TaskAssigned,
    TaskCancelled,
    TaskChunk,
    TaskCompleted,
    TaskDead,
    TaskEnded,
    TaskError,
    TaskFailed,
    TaskHalted,
    TaskQueued,
    TaskRequeued,
)
from streams.subjects import MESH
from streams.tasks.chat import FinishReason, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.events import Marker, TaskEvent


CLIENT_CLOSED_REQUEST: Final = 499
"""The status of a cancelled task: nginx's code for a client that did not want to wait."""


class Phase(StrEnum):
    """Where a task stands. Only forwards, but for a re-assignment, which starts ``RUNNING`` again."""

    SUBMITTED = "submitted"
    WAITING = "waiting"
    RUNNING = "running"
    WRITTEN = "written"
    """The last chunk is stored; the dispatcher has yet to end the task."""
    HALTED = "halted"
    ENDED = "ended"


class Rejection(StrEnum):
    """Why an event does not count. A reader skips it, save ``GAP``, where it must fetch what it missed."""

    REPEAT = "this counter was seen before"
    GAP = "events before this one are missing"
    FOREIGN_WRITER = "the writer does not hold the assignment"
    STALE_ATTEMPT = "the attempt is not the current one"
    WRONG_OFFSET = "the text does not begin where the answer stands"
    MIXED = "a chunk has text or vectors, not both"
    OUT_OF_PHASE = "such an event cannot follow now"


class TaskState(Struct, frozen=True, kw_only=True):
    """All that the events so far say, without the text.

    ``chars`` is the length of the answer so far, in characters, or in vectors where it is those.
    """

    n: int = 0
    phase: Phase = Phase.SUBMITTED
    attempt: int = 0
    node: str | None = None
    model: str | None = None
    """What the current or last attempt answers with, where another name was asked for."""
    chars: int = 0
    tokens: int = 0
    shares: tuple[AttemptShare, ...] = ()
    """What each attempt has contributed, in order, the current one included."""
    seam: Seam | None = None
    """How the current attempt joins what was written before it."""
    failures: tuple[AttemptFailure, ...] = ()
    """Why earlier attempts came to nothing, in order."""
    retry_at_ms: int = 0
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    prompt_tokens: int | None = None
    """How long the prompt is, as the first node has said whose text is part of the answer."""
    position: int | None = None
    reason: str | None = None
    """Why it waits or was halted."""
    outcome: Outcome | None = None
    error: TaskError | None = None
    """What it failed with, or, where it was halted, will have failed with."""

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow."""
        return self.phase is Phase.ENDED


def advance(state: TaskState, writer: str, event: TaskEvent) -> TaskState | Rejection:
    """Apply one event written by ``writer`` (the last token of its subject), or say why it does not count."""
    if isinstance(event, TaskChunk):
        return _check_chunk(state, writer, event) or _add_chunk(state, event)
    return _check_marker(state, writer, event) or _mark(state, event)


def closing(end: EndEvent) -> TaskEnded:
    """Return the marker that follows from a terminal event: whoever knows the end need not wait for the marker."""
    outcome: Outcome = _OUTCOMES[type(end)]
    error = end.error if isinstance(end, (TaskFailed, TaskDead)) else None
    if isinstance(end, TaskCancelled):
        error = TaskError(code="cancelled", message=end.reason, status=CLIENT_CLOSED_REQUEST)
    hedge = end.hedge if isinstance(end, TaskCompleted) else None
    return TaskEnded(n=end.final_n + 1, at_ms=end.at_ms, outcome=outcome, error=error, hedge=hedge)


def fold(events: Iterable[tuple[str, TaskEvent]], state: TaskState | None = None) -> TaskState:
    """Apply ``(writer, event)`` pairs in stream order, skipping what does not count."""
    current = state or TaskState()
    for writer, event in events:
        following = advance(current, writer, event)
        if not isinstance(following, Rejection):
            current = following
    return current


def _check_counter(state: TaskState, n: int) -> Rejection | None:
    if n == state.n + 1:
        return None
    return Rejection.REPEAT if n <= state.n else Rejection.GAP


def _check_chunk(state: TaskState, writer: str, chunk: TaskChunk) -> Rejection | None:
    # A gap is told before anything else: what is missing may well be the marker that makes this chunk right.
    if (counter := _check_counter(state, chunk.n)) is not None:
        return counter
    if writer != state.node:
        return Rejection.FOREIGN_WRITER
    if chunk.attempt != state.attempt:
        return Rejection.STALE_ATTEMPT
    if state.phase is not Phase.RUNNING:
        return Rejection.OUT_OF_PHASE
    if chunk.vectors is not None and chunk.text:
        return Rejection.MIXED
    return None if chunk.offset == state.chars else Rejection.WRONG_OFFSET


def _check_marker(state: TaskState, writer: str, marker: Marker) -> Rejection | None:
    if writer != MESH:
        return Rejection.FOREIGN_WRITER
    if (counter := _check_counter(state, marker.n)) is not None:
        return counter
    if state.phase not in _MAY_FOLLOW[type(marker)]:
        return Rejection.OUT_OF_PHASE
    if isinstance(marker, TaskRequeued):
        return None if marker.attempt == state.attempt else Rejection.STALE_ATTEMPT
    return _check_assignment(state, marker) if isinstance(marker, TaskAssigned) else None


def _check_assignment(state: TaskState, marker: TaskAssigned) -> Rejection | None:
    if marker.attempt != state.attempt + 1:
        return Rejection.STALE_ATTEMPT
    begins_at = 0 if marker.seam == "restarted" else state.chars
    return None if marker.offset == begins_at else Rejection.WRONG_OFFSET


def _add_chunk(state: TaskState, chunk: TaskChunk) -> TaskState:
    last = state.shares[-1]
    share = AttemptShare(
        attempt=last.attempt,
        node=last.node,
        chars=last.chars + chunk.length,
        tokens=last.tokens + chunk.tokens,
        signed=chunk.finish_reason is not None and chunk.signature is not None,
    )
    return replace(
        state,
        n=chunk.n,
        phase=Phase.RUNNING if chunk.finish_reason is None else Phase.WRITTEN,
        chars=state.chars + chunk.length,
        tokens=state.tokens + chunk.tokens,
        shares=(*state.shares[:-1], share),
        finish_reason=chunk.finish_reason,
        usage=chunk.usage,
        prompt_tokens=chunk.prompt_tokens if state.prompt_tokens is None else state.prompt_tokens,
    )


def _mark(state: TaskState, marker: Marker) -> TaskState:
    match marker:
        case TaskAccepted():
            return _accept(state, marker)
        case TaskQueued():
            return _queue(state, marker)
        case TaskAssigned():
            return _assign(state, marker)
        case TaskRequeued():
            return _requeue(state, marker)
        case TaskHalted():
            return _halt(state, marker)
        case TaskEnded():
            return _end(state, marker)


def _accept(state: TaskState, marker: TaskAccepted) -> TaskState:
    return replace(state, n=marker.n, phase=Phase.WAITING)


def _queue(state: TaskState, marker: TaskQueued) -> TaskState:
    return replace(state, n=marker.n, phase=Phase.WAITING, position=marker.position, reason=marker.reason)


def _assign(state: TaskState, marker: TaskAssigned) -> TaskState:
    before = _void(state) if marker.seam == "restarted" else state
    share = AttemptShare(attempt=marker.attempt, node=marker.node, chars=0, tokens=0)
    return replace(
        before,
        n=marker.n,
        phase=Phase.RUNNING,
        attempt=marker.attempt,
        node=marker.node,
        model=marker.model,
        shares=(*before.shares, share),
        seam=marker.seam,
        position=None,
        reason=None,
        finish_reason=None,
        usage=None,
    )


def _void(state: TaskState) -> TaskState:
    """Drop the text so far: what earlier attempts wrote is no part of the answer, so it is nobody's contribution."""
    shares = tuple(replace(share, chars=0, tokens=0, signed=False) for share in state.shares)
    return replace(state, chars=0, tokens=0, shares=shares, prompt_tokens=None)


def _requeue(state: TaskState, marker: TaskRequeued) -> TaskState:
    failure = AttemptFailure(attempt=marker.attempt, node=marker.node, code=marker.code, message=marker.message)
    return replace(
        state,
        n=marker.n,
        phase=Phase.WAITING,
        shares=_signed(state.shares, is_signed=marker.signature is not None),
        reason=marker.message,
        retry_at_ms=marker.retry_at_ms,
        failures=(*state.failures, failure),
        finish_reason=None,
        usage=None,
    )


def _halt(state: TaskState, marker: TaskHalted) -> TaskState:
    shares = _signed(state.shares, is_signed=False) if state.phase is Phase.WRITTEN else state.shares
    return replace(state, n=marker.n, phase=Phase.HALTED, shares=shares, reason=marker.reason, error=marker.error)


def _signed(shares: tuple[AttemptShare, ...], *, is_signed: bool) -> tuple[AttemptShare, ...]:
    """Say whether the current attempt's share is signed; what a last chunk says of that nobody has checked so far."""
    return (*shares[:-1], replace(shares[-1], signed=is_signed))


def _end(state: TaskState, marker: TaskEnded) -> TaskState:
    return replace(state, n=marker.n, phase=Phase.ENDED, outcome=marker.outcome, error=marker.error)


_OUTCOMES: Final[dict[type[EndEvent], Outcome]] = {
    TaskCompleted: "completed",
    TaskFailed: "failed",
    TaskCancelled: "cancelled",
    TaskDead: "dead",
}

_OPEN = frozenset({Phase.SUBMITTED, Phase.WAITING, Phase.RUNNING, Phase.WRITTEN, Phase.HALTED})

_MAY_FOLLOW = {
    TaskAccepted: frozenset({Phase.SUBMITTED}),
    TaskQueued: frozenset({Phase.SUBMITTED, Phase.WAITING, Phase.RUNNING}),
    TaskAssigned: frozenset({Phase.SUBMITTED, Phase.WAITING, Phase.RUNNING}),
    TaskRequeued: frozenset({Phase.RUNNING, Phase.WRITTEN}),
    TaskHalted: _OPEN - {Phase.HALTED},
    TaskEnded: _OPEN,
}
