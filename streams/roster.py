"""Who can serve what, as a fold of MODELS and DEVICES events and of the nodes' status reports.

The events say what was announced and who was lost; the reports say who is here and how busy. A node counts as live
while its reports come in time, whatever the log says, so a ghost never lingers and a flapping node never doubles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from streams.events import DeviceLost, ModelAnnounced
from streams.messages import NodeStatus
from streams.replica import Replica
from streams.tokens import Token

if TYPE_CHECKING:
    from streams.events import DeviceEvent, ModelEvent

MISSED_REPORTS: Final = 2.5
"""How many report intervals of silence make a node not live."""


class NodeView(Struct, frozen=True, kw_only=True):
    """One node as it stands at the moment of asking."""

    node: Token
    replicas: tuple[Replica, ...]
    status: NodeStatus | None
    is_live: bool
    is_registered: bool
    """Whether the log says that it was seen before."""
    is_lost: bool
    """Whether the log says that it left and did not return."""
    heard_at_s: float | None
    """When its last report came, on the clock that the roster is asked with."""

    def reports_now(self, now_s: float) -> bool:
        """Whether its last report is recent, whatever the log says of it."""
        if self.status is None or self.heard_at_s is None:
            return False
        return now_s - self.heard_at_s <= MISSED_REPORTS * self.status.interval_s

    def replica_of(self, model: str) -> Replica | None:
        """What the node announced of one of its replicas."""
        return next((replica for replica in self.replicas if replica.model == model), None)


class ModelView(Struct, frozen=True, kw_only=True):
    """One model that the mesh can serve at the moment of asking."""

    model: str
    created_ms: int
    nodes: tuple[Token, ...]
    context_tokens: int
    engine: str
    quantisation: str | None


class _Node:
    """What is kept of one node: mutable, and never handed out."""

    def __init__(self, node: Token) -> None:
        self.node = node
        self.replicas: dict[str, Replica] = {}
        self.status: NodeStatus | None = None
        self.heard_at_s: float | None = None
        self.is_registered = False
        self.is_lost = False

    def is_live(self, now_s: float) -> bool:
        if self.is_lost or self.status is None or self.heard_at_s is None:
            return False
        return now_s - self.heard_at_s <= MISSED_REPORTS * self.status.interval_s

    def view(self, now_s: float) -> NodeView:
        return NodeView(
            node=self.node,
            replicas=tuple(self.replicas.values()),
            status=self.status,
            is_live=self.is_live(now_s),
            is_registered=self.is_registered,
            is_lost=self.is_lost,
            heard_at_s=self.heard_at_s,
        )


class Roster:
    """The projection. It is fed from one place, in stream order, and asked with a monotonic ``now_s`` in seconds."""

    def __init__(self) -> None:
        """Start empty, before the first event."""
        self._nodes: dict[Token, _Node] = {}
        self._first_seen_ms: dict[str, int] = {}

    def apply_model(self, node: Token, event: ModelEvent) -> None:
        """Fold one event of MODELS."""
        replicas = self._node(node).replicas
        if isinstance(event, ModelAnnounced):
            replicas[event.replica.model] = event.replica
            self._first_seen_ms.setdefault(event.replica.model, event.at_ms)
        else:
            replicas.pop(event.model, None)

    def apply_device(self, node: Token, event: DeviceEvent) -> None:
        """Fold one event of DEVICES. A lost node is not live until an event says that it returned."""
        kept = self._node(node)
        kept.is_registered = True
        kept.is_lost = isinstance(event, DeviceLost)

    def apply_status(self, node: Token, status: NodeStatus, *, now_s: float) -> None:
        """Take a report of a node. What the log says is lost stays lost until the log says that it returned."""
        kept = self._node(node)
        kept.status = status
        kept.heard_at_s = now_s

    def nodes(self, *, now_s: float) -> tuple[NodeView, ...]:
        """Every node ever heard of, by name."""
        return tuple(self._nodes[node].view(now_s) for node in sorted(self._nodes))

    def node(self, name: Token, *, now_s: float) -> NodeView | None:
        """One node, or None if it was never heard of."""
        kept = self._nodes.get(name)
        return None if kept is None else kept.view(now_s)

    def serving(self, model: str, *, now_s: float) -> tuple[NodeView, ...]:
        """Every node that announced the model, live or not."""
        return tuple(kept.view(now_s) for kept in self._nodes.values() if model in kept.replicas)

    def knows(self, model: str) -> bool:
        """Whether the model was ever announced: then a task for it waits instead of failing."""
        return model in self._first_seen_ms

    def model(self, name: str, *, now_s: float) -> ModelView | None:
        """What can be served of a model now, or None if no live node has it."""
        serving = [view for view in self.serving(name, now_s=now_s) if view.is_live]
        replicas = [(view.node, replica) for view in serving if (replica := view.replica_of(name)) is not None]
        if not replicas:
            return None
        widest = max((replica for _, replica in replicas), key=lambda replica: replica.context_tokens)
        return ModelView(
            model=name,
            created_ms=self._first_seen_ms[name],
            nodes=tuple(node for node, _ in replicas),
            context_tokens=widest.context_tokens,
            engine=widest.engine,
            quantisation=widest.quantisation,
        )

    def models(self, *, now_s: float) -> tuple[ModelView, ...]:
        """Every model that a live node serves, by name."""
        views = (self.model(name, now_s=now_s) for name in sorted(self._first_seen_ms))
        return tuple(view for view in views if view is not None)

    def silent(self, *, now_s: float) -> tuple[Token, ...]:
        """Nodes that reported once and have now been silent for too long, without the log saying so yet."""
        return tuple(
            kept.node
            for kept in self._nodes.values()
            if kept.status is not None and not kept.is_lost and not kept.is_live(now_s)
        )

    def _node(self, name: Token) -> _Node:
        return self._nodes.setdefault(name, _Node(name))
