"""Whether a model can do at all what is asked of it: words for messages, or vectors for texts.

Asked before a task is accepted, at every door alike: what no node's model can ever do must not wait for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.scheduling.filters import can_give
from streams.events import TaskError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.scheduling.aliases import Alias
    from streams.events import TaskSubmitted
    from streams.replica import ModelKind
    from streams.roster import Roster

_INSTEAD: Final[dict[ModelKind, str]] = {
    "embedding": "it writes answers: ask it by /v1/chat/completions (on the bus: 'messages')",
    "chat": "it turns texts into vectors: ask it by /v1/embeddings (on the bus: 'texts')",
}


def kind_of(asked: TaskSubmitted) -> ModelKind:
    """What a task asks for."""
    return "embedding" if asked.texts else "chat"


class ModelKinds:
    """Looks at what nodes have announced. A model that no node has now is let pass: its task waits for one."""

    def __init__(self, roster: Roster, aliases: Mapping[str, Alias]) -> None:
        """Go by ``roster``; an alias can do what any of its models can."""
        self._roster = roster
        self._aliases = aliases

    def objection(self, model: str, kind: ModelKind, dimensions: int | None = None) -> TaskError | None:
        """Say why a model that is known cannot have a task of a kind, or None."""
        alias = self._aliases.get(model)
        models = (model,) if alias is None else alias.models
        announced = [(name, kinds) for name in models if (kinds := self._roster.kinds(name))]
        able = [name for name, kinds in announced if kind in kinds]
        if announced and not able:
            message = f"The model {model!r} cannot do this: {_INSTEAD[kind]}."
            return TaskError(code="unsupported_model", message=message, status=400, param="model")
        if dimensions is not None and able and not self._can_give(able, dimensions):
            message = f"The model {model!r} has no vectors of {dimensions} numbers: leave 'dimensions' out."
            return TaskError(code="unsupported_value", message=message, status=400, param="dimensions")
        return None

    def _can_give(self, models: list[str], dimensions: int) -> bool:
        # Reports do not matter here: what was announced holds until it is withdrawn.
        views = (view for model in models for view in self._roster.serving(model, now_s=0.0))
        return any(
            can_give(replica, dimensions)
            for view in views
            for replica in view.replicas
            if replica.model in models and replica.kind == "embedding"
        )
