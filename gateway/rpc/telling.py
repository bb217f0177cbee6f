"""From what happens on the mesh to what gRPC carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.rpc.wire import inference_pb2 as pb
from streams.events import (
    TaskAccepted,
    TaskAssigned,
    TaskChunk,
    TaskEnded,
    TaskHalted,
    TaskQueued,
    TaskRequeued,
)
from streams.tasks.task import Phase
from streams.tasks.task_id import created_ms, parse_task_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.bridge.frames import TaskView
    from gateway.limits.meter import Meter
    from mesh.bus.answer import Step
    from streams.devices.roster import ModelView
    from streams.events import TaskError, TaskEvent
    from streams.tasks.answer_parts import LikelyToken, TokenLogprob, ToolCallPiece
    from streams.tasks.chat import Usage
    from streams.tasks.task import TaskState

OUTCOMES: Final = {
    "completed": pb.OUTCOME_COMPLETED,
    "failed": pb.OUTCOME_FAILED,
    "cancelled": pb.OUTCOME_CANCELLED,
    "dead": pb.OUTCOME_DEAD,
}
_FINISH_REASONS: Final = {
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_LENGTH,
    "tool_calls": pb.FINISH_REASON_TOOL_CALLS,
}
_PHASES: Final = {
    Phase.SUBMITTED: pb.PHASE_SUBMITTED,
    Phase.WAITING: pb.PHASE_WAITING,
    Phase.RUNNING: pb.PHASE_RUNNING,
    Phase.WRITTEN: pb.PHASE_WRITTEN,
    Phase.HALTED: pb.PHASE_HALTED,
    Phase.ENDED: pb.PHASE_ENDED,
}


def event(task: str, happened: TaskEvent) -> pb.TaskEvent:
    """One valid event of a task."""
    told = pb.TaskEvent(task=task, n=happened.n)
    match happened:
        case TaskAccepted():
            told.accepted.SetInParent()
        case TaskQueued():
            told.queued.CopyFrom(pb.Queued(position=happened.position, reason=happened.reason))
        case TaskAssigned():
            told.assigned.CopyFrom(_assigned(happened))
        case TaskChunk():
            told.chunk.CopyFrom(_chunk(happened))
        case TaskRequeued():
            told.requeued.CopyFrom(_requeued(happened))
        case TaskHalted():
            told.halted.CopyFrom(pb.Halted(reason=happened.reason))
        case TaskEnded():
            told.ended.CopyFrom(pb.Ended(outcome=OUTCOMES[happened.outcome], error=_error(happened.error)))
    return told


def task(name: str, model: str, state: TaskState) -> pb.Task:
    """What a task has become; its answer is added by who has read it."""
    return pb.Task(
        task=name,
        created_ms=created_ms(parse_task_id(name)),
        model=state.model or model,
        phase=_PHASES[state.phase],
        n=state.n,
        node=state.node or "",
        attempt=state.attempt,
        finish_reason=_FINISH_REASONS.get(state.finish_reason or ""),
        usage=_usage(state.usage),
        outcome=OUTCOMES.get(state.outcome or ""),
        error=_error(state.error),
    )


def add_answer(told: pb.Task, steps: Iterable[Step]) -> None:
    """Add what these steps have written; a restart drops what came before it."""
    pieces: list[ToolCallPiece] = []
    text: list[str] = []
    floats: list[bytes] = []
    for step in steps:
        if step.restarts:
            pieces, text, floats = [], [], []
            told.ClearField("vectors")
        elif isinstance(step.event, TaskChunk):
            text.append(step.event.text)
            pieces += step.event.tool_calls
            if step.event.vectors is not None:
                told.vectors.count += step.event.vectors.count
                floats.append(step.event.vectors.floats)
    told.text = "".join(text)
    if floats:
        told.vectors.floats = b"".join(floats)
    told.tool_calls.extend(_calls(pieces))


def view(seen: TaskView) -> pb.Task:
    """A task as the board shows it: of its answer the end alone."""
    return pb.Task(
        task=seen.task,
        created_ms=seen.created_ms,
        model=seen.model,
        phase=_PHASES[seen.phase],
        n=seen.n,
        node=seen.node or "",
        attempt=seen.attempt,
        text=seen.tail,
        finish_reason=_FINISH_REASONS.get(seen.finish_reason or ""),
        outcome=OUTCOMES.get(seen.outcome or ""),
        error=_error(seen.error),
    )


def model(seen: ModelView) -> pb.Model:
    """A model that is served now."""
    return pb.Model(
        id=seen.model,
        kind=seen.kind,
        context_tokens=seen.context_tokens,
        engine=seen.engine,
        quantisation=seen.quantisation,
        replicas=len(seen.nodes),
        slots=seen.slots,
        tiers=seen.tiers,
        created_ms=seen.created_ms,
    )


def allowances(meter: Meter) -> list[pb.Allowance]:
    """What is left of the limits of one account or key."""
    told: list[pb.Allowance] = []
    for kind in ("requests", "tokens"):
        standing = meter.standing(kind)
        if standing is not None:
            told.append(
                pb.Allowance(
                    scope=meter.owner.scope,
                    kind=kind,
                    limit=standing.limit,
                    remaining=max(0, standing.remaining),
                    reset_ms=standing.reset_ms,
                )
            )
    return told


def _assigned(happened: TaskAssigned) -> pb.Assigned:
    return pb.Assigned(
        attempt=happened.attempt,
        node=happened.node,
        model=happened.model or "",
        restarts=happened.seam == "restarted",
    )


def _requeued(happened: TaskRequeued) -> pb.Requeued:
    return pb.Requeued(attempt=happened.attempt, node=happened.node, code=happened.code, message=happened.message)


def _chunk(happened: TaskChunk) -> pb.Chunk:
    vectors = happened.vectors
    return pb.Chunk(
        text=happened.text,
        tool_calls=[_piece(piece) for piece in happened.tool_calls],
        logprobs=[_logprob(each) for each in happened.logprobs],
        vectors=None if vectors is None else pb.Vectors(count=vectors.count, floats=vectors.floats),
        tokens=happened.tokens,
        finish_reason=_FINISH_REASONS.get(happened.finish_reason or ""),
        usage=_usage(happened.usage),
    )


def _piece(piece: ToolCallPiece) -> pb.ToolCallPiece:
    return pb.ToolCallPiece(index=piece.index, id=piece.id, name=piece.name, arguments=piece.arguments)


def _calls(pieces: Iterable[ToolCallPiece]) -> list[pb.ToolCall]:
    calls: dict[int, pb.ToolCall] = {}
    for piece in pieces:
        call = calls.setdefault(piece.index, pb.ToolCall())
        call.id = piece.id or call.id
        call.name = piece.name or call.name
        call.arguments += piece.arguments
    return [call for _, call in sorted(calls.items())]


def _logprob(token: TokenLogprob) -> pb.TokenLogprob:
    top = [_likely(each) for each in token.top]
    return pb.TokenLogprob(token=token.token, logprob=token.logprob, raw=token.raw, top=top)


def _likely(token: LikelyToken) -> pb.LikelyToken:
    return pb.LikelyToken(token=token.token, logprob=token.logprob, raw=token.raw)


def _usage(usage: Usage | None) -> pb.TokenUsage | None:
    if usage is None:
        return None
    return pb.TokenUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_prompt_tokens=usage.cached_prompt_tokens,
    )


def _error(error: TaskError | None) -> pb.TaskError | None:
    if error is None:
        return None
    return pb.TaskError(code=error.code, message=error.message, status=error.status, param=error.param)
