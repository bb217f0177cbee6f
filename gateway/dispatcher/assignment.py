"""The marker that gives a task to a node, with the whole reason for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.clock import now_ms
from streams.events import TaskAssigned

if TYPE_CHECKING:
    from gateway.scheduling.placement import Placement
    from streams.events import Seam
    from streams.tasks.placing import Hedge
    from streams.tasks.task import TaskState


def assignment(
    n: int,
    placement: Placement,
    state: TaskState,
    *,
    asked_model: str,
    seam: Seam | None,
    hedge: Hedge | None = None,
) -> TaskAssigned:
    """Make the marker of the next attempt at a task that stands at ``state``."""
    return TaskAssigned(
        n=n,
        at_ms=now_ms(),
        attempt=state.attempt + 1,
        node=placement.node or "",
        policy=placement.policy,
        candidates=placement.candidates,
        offset=0 if seam == "restarted" else state.chars,
        seam=seam,
        rejects=placement.rejects,
        serving=placement.serving,
        model=None if placement.model == asked_model else placement.model,
        hedge=hedge,
    )
