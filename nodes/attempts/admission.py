"""What a node takes and what it refuses: one pure decision, made before anything is spent on a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from streams.devices.replica import ModelKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.messages import Assign


class Occupancy(Struct, frozen=True, kw_only=True):
    """One model on this node: requests that it can run at once, and how many it runs."""

    slots: int
    busy: int
    is_suspect: bool = False
    """Whether its engine failed so often that it is being checked, or was found broken."""
    is_leaving: bool = False
    """Whether it is about to be unloaded."""
    away: str | None = None
    """Why its engine can do nothing, where what it asks outside is not there."""
    kind: ModelKind = "chat"


class Objection(Struct, frozen=True, kw_only=True):
    """Why a node will not take a task. A ``status`` below 500 means that no other node would either."""

    code: str
    message: str
    status: int


def objection_to(assign: Assign, models: Mapping[str, Occupancy], *, now_ms: int, draining: bool) -> Objection | None:
    """Say why this node refuses an assignment, or None where it takes it.

    There is no queue on a node: the dispatcher has one, sees all nodes, and tells the user the place in it.
    """
    if assign.written:
        # Whoever began the attempt would not be asked. The code counts it among the nodes that the task has lost.
        return Objection(code="node_lost", message="the node was started again since it began the attempt", status=503)
    if assign.deadline_at_ms is not None and assign.deadline_at_ms <= now_ms:
        return Objection(code="deadline_exceeded", message="the deadline passed before the task began", status=408)
    if draining:
        return Objection(code="node_draining", message="the node is being shut down", status=503)
    occupancy = models.get(assign.model)
    if occupancy is None:
        # Not 404: another node may well serve it, and only the dispatcher knows whether none does.
        return Objection(code="model_not_found", message=f"this node does not serve {assign.model!r}", status=503)
    if (occupancy.kind == "embedding") != bool(assign.texts):
        message = f"here {assign.model!r} is a model of the kind {occupancy.kind}"
        return Objection(code="unsupported_model", message=message, status=503)
    if occupancy.is_leaving:
        return Objection(code="node_draining", message="the node unloads the model", status=503)
    if occupancy.away is not None:
        return Objection(code="engine_away", message=occupancy.away, status=503)
    if occupancy.is_suspect:
        return Objection(code="engine_suspect", message="the model's engine has failed and is checked", status=503)
    if occupancy.busy >= occupancy.slots:
        return Objection(code="node_busy", message=f"all {occupancy.slots} slots of the model are taken", status=503)
    return None
