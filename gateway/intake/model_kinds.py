"""Whether a model is of the kind that a task asks for: it writes answers, or turns texts into vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.scheduling.filters import can_give
from streams.tasks.task_error import TaskError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.devices.replica import ModelKind
    from streams.devices.roster import Roster
    from streams.events import TaskSubmitted

_INSTEAD: Final[dict[ModelKind, str]] = {
    "embedding": "it writes answers: ask it by /v1/chat/completions (on the bus: 'messages')",
    "chat": "it turns texts into vectors: ask it by /v1/embeddings (on the bus: 'texts')",
}


def kind_error(asked: TaskSubmitted, models: Sequence[str], roster: Roster) -> TaskError | None:
    """Say why none of ``models``, one of which is to serve a task, is of its kind.

    None if one is, or if no node has announced any of them now: then the task waits for one that does.
    """
    kind: ModelKind = "embedding" if asked.texts else "chat"
    announced = [(name, kinds) for name in models if (kinds := roster.kinds(name))]
    able = [name for name, kinds in announced if kind in kinds]
    if announced and not able:
        message = f"The model {asked.model!r} cannot do this: {_INSTEAD[kind]}."
        return TaskError(code="unsupported_model", message=message, status=400, param="model")
    if asked.dimensions is not None and able and not _can_give(able, asked.dimensions, roster):
        message = f"The model {asked.model!r} has no vectors of {asked.dimensions} numbers: leave 'dimensions' out."
        return TaskError(code="unsupported_value", message=message, status=400, param="dimensions")
    return None


def _can_give(models: Iterable[str], dimensions: int, roster: Roster) -> bool:
    replicas = (replica for model in models for replica in roster.replicas_of(model))
    return any(replica.kind == "embedding" and can_give(replica, dimensions) for replica in replicas)
