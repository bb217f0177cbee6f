"""Who can serve what, as a fold of MODELS and DEVICES events and of the nodes' status reports.

The events say what was announced and who was lost; the reports say who is here and how busy. A node counts as live
while its reports come in time, whatever the log says, so a ghost never lingers and a flapping node never doubles.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, get_args

import msgspec
from msgspec import Struct

from streams.codec import decode
from streams.devices.replica import Ability, ModelKind, Replica, Tier
from streams.events import (
    DeviceAdmitted,
    DeviceChecked,
    DeviceLost,
    DeviceRevoked,
    DeviceSuspended,
    DeviceUnconfirmed,
    DeviceVerified,
    ModelAnnounced,
    ModelDesired,
    ModelScaled,
)
from streams.messages import NodeStatus
from streams.models.events import InRegion
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.events import DeviceEvent, ModelEvent

MISSED_REPORTS: Final = 2.5
"""How many report intervals of silence make a node not live."""


_NEAREST_FIRST: Final[tuple[Tier, ...]] = get_args(Tier)

_NO_KINDS: Final[Counter[ModelKind]] = Counter()


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
    kind: ModelKind = "chat"
    tiers: tuple[Tier, ...] = ("edge",)
    """Where its replicas run, the nearest first."""
    slots: int = 0
    """Answers at once, on all of them together."""
    abilities: tuple[Ability, ...] = ()
    """What one replica or another can do beyond plain text."""


class Wish(Struct, frozen=True, kw_only=True):
    """How many replicas of a model there shall be, and where."""

    desired: ModelDesired
    scaled: int | None
    scaled_in: tuple[InRegion, ...] = ()

    @property
    def model(self) -> str:
        """The model's name."""
        return self.desired.file.name

    @property
    def least(self) -> int:
        """No fewer, whatever the demand."""
        return self.desired.replicas

    @property
    def most(self) -> int:
        """No more, whatever the demand."""
        return self.desired.replicas if self.desired.most is None else max(self.desired.most, self.desired.replicas)

    @property
    def wanted(self) -> int:
        """So many now."""
        return self.least if self.scaled is None else min(max(self.scaled, self.least), self.most)

    @property
    def wanted_in(self) -> dict[str, int]:
        """So many of them in regions that tasks must not leave; more than all together are not kept there."""
        left, found = self.wanted, dict[str, int]()
        for each in self.scaled_in:
            if self.allows(each.region) and (count := min(each.replicas, left)):
                found[each.region] = count
                left -= count
        return found

    def allows(self, region: str | None) -> bool:
        """Whether a node that says this region may have it."""
        return not self.desired.regions or region in self.desired.regions


class _Report(Struct, frozen=True):
    """The last report of a node, and when it came."""

    status: NodeStatus
    heard_at_s: float

    def is_recent(self, now_s: float) -> bool:
        return now_s - self.heard_at_s <= MISSED_REPORTS * self.status.interval_s


class _Models(Struct, frozen=True, omit_defaults=True):
    """What MODELS adds up to, as it is written into snapshots."""

    replicas: dict[Token, dict[str, Replica]]
    first_seen_ms: dict[str, int]
    desired: dict[str, ModelDesired] = {}
    scaled: dict[str, ModelScaled] = {}


class _Devices(Struct, frozen=True):
    """What DEVICES adds up to, as it is written into snapshots: every node seen, and whether it is lost."""

    is_lost: dict[Token, bool]


class Roster:
    """The projection. It is fed from one place, in stream order, and asked with a monotonic ``now_s`` in seconds.

    Two folds that do not touch each other, of MODELS and of DEVICES, and beside them the reports, which no log has.
    """

    VERSION: Final = 4
    """Raise it whenever the same events add up to something else: older snapshots are then not used."""

    def __init__(self) -> None:
        """Start empty, before the first event."""
        self._replicas: dict[Token, dict[str, Replica]] = {}
        self._first_seen_ms: dict[str, int] = {}
        self._desired: dict[str, ModelDesired] = {}
        self._scaled: dict[str, ModelScaled] = {}
        self._is_lost: dict[Token, bool] = {}
        self._reports: dict[Token, _Report] = {}
        self._kinds: dict[str, Counter[ModelKind]] = {}

    def apply_model(self, node: Token, event: ModelEvent) -> None:
        """Fold one event of MODELS."""
        if isinstance(event, ModelDesired):
            self._desired[event.file.name] = event
            self._scaled.pop(event.file.name, None)
            return
        if isinstance(event, ModelScaled):
            self._scaled[event.model] = event
            return
        replicas = self._replicas.setdefault(node, {})
        if isinstance(event, ModelAnnounced):
            self._count(replicas.get(event.replica.model), -1)
            self._count(event.replica, 1)
            replicas[event.replica.model] = event.replica
            self._first_seen_ms.setdefault(event.replica.model, event.at_ms)
        else:
            self._count(replicas.pop(event.model, None), -1)

    def _count(self, replica: Replica | None, by: int) -> None:
        if replica is not None:
            self._kinds.setdefault(replica.model, Counter())[replica.kind] += by

    def apply_device(self, node: Token, event: DeviceEvent) -> None:
        """Fold one event of DEVICES. A lost node is not live until an event says that it returned."""
        if isinstance(event, DeviceVerified | DeviceAdmitted | DeviceUnconfirmed | DeviceChecked):
            # It may take part, or answered well or badly; whether it is here is for itself to say.
            return
        self._is_lost[node] = isinstance(event, DeviceLost | DeviceSuspended | DeviceRevoked)

    def apply_status(self, node: Token, status: NodeStatus, *, now_s: float) -> None:
        """Take a report of a node. What the log says is lost stays lost until the log says that it returned."""
        self._reports[node] = _Report(status, now_s)

    # --- as a projection -------------------------------------------------------------------------------------------

    def dump_models(self) -> bytes:
        """Return all that MODELS has added up to. The same events give the same bytes."""
        return msgspec.msgpack.encode(_Models(self._replicas, self._first_seen_ms, self._desired, self._scaled))

    def load_models(self, data: bytes) -> None:
        """Replace all that MODELS has added up to.

        Raises:
            UndecodableEvent: if the bytes are no such state; nothing is replaced then.
        """
        state = decode(data, _Models)
        self._replicas, self._first_seen_ms = state.replicas, state.first_seen_ms
        self._desired, self._scaled = dict(state.desired), dict(state.scaled)
        self._kinds = {}
        for replicas in self._replicas.values():
            for replica in replicas.values():
                self._count(replica, 1)

    def dump_devices(self) -> bytes:
        """Return all that DEVICES has added up to. The same events give the same bytes."""
        return msgspec.msgpack.encode(_Devices(self._is_lost))

    def load_devices(self, data: bytes) -> None:
        """Replace all that DEVICES has added up to.

        Raises:
            UndecodableEvent: if the bytes are no such state; nothing is replaced then.
        """
        self._is_lost = decode(data, _Devices).is_lost

    # --- questions -------------------------------------------------------------------------------------------------

    def nodes(self, *, now_s: float) -> tuple[NodeView, ...]:
        """Every node ever heard of, by name."""
        known = {*self._replicas, *self._is_lost, *self._reports}
        return tuple(self._view(node, now_s) for node in sorted(known))

    def node(self, name: Token, *, now_s: float) -> NodeView | None:
        """One node, or None if it was never heard of."""
        is_known = name in self._replicas or name in self._is_lost or name in self._reports
        return self._view(name, now_s) if is_known else None

    def serving(self, model: str, *, now_s: float) -> tuple[NodeView, ...]:
        """Every node that announced the model, live or not."""
        return tuple(self._view(node, now_s) for node, replicas in self._replicas.items() if model in replicas)

    def replicas_of(self, model: str) -> Iterator[Replica]:
        """What each node has announced of the model, live or not."""
        return (replicas[model] for replicas in self._replicas.values() if model in replicas)

    def knows(self, model: str) -> bool:
        """Whether the model was ever announced, or is to be brought: then a task for it waits instead of failing."""
        return model in self._first_seen_ms or self.could_bring(model) is not None

    def kinds(self, model: str) -> frozenset[ModelKind]:
        """What the nodes that have announced a model make of what it is given; empty where none has it now."""
        return frozenset(kind for kind, count in self._kinds.get(model, _NO_KINDS).items() if count > 0)

    def wishes(self) -> tuple[Wish, ...]:
        """How many replicas of which models there shall be, by name; those that nobody wants any more included."""
        return tuple(_wish(self._desired[model], self._scaled.get(model)) for model in sorted(self._desired))

    def could_bring(self, model: str) -> Wish | None:
        """Return the wish by which a model may be brought from the store when somebody asks for it, if there is one."""
        desired = self._desired.get(model)
        wish = None if desired is None else _wish(desired, self._scaled.get(model))
        return wish if wish is not None and wish.most > 0 else None

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
            kind=widest.kind,
            tiers=tuple(sorted({replica.tier for _, replica in replicas}, key=_NEAREST_FIRST.index)),
            slots=sum(replica.slots for _, replica in replicas),
            abilities=tuple(sorted({ability for _, replica in replicas for ability in replica.abilities})),
        )

    def models(self, *, now_s: float) -> tuple[ModelView, ...]:
        """Every model that a live node serves, by name."""
        views = (self.model(name, now_s=now_s) for name in sorted(self._first_seen_ms))
        return tuple(view for view in views if view is not None)

    def silent(self, *, now_s: float) -> tuple[Token, ...]:
        """Nodes that reported once and have now been silent for too long, without the log saying so yet."""
        return tuple(
            node
            for node, report in self._reports.items()
            if not self._is_lost.get(node, False) and not report.is_recent(now_s)
        )

    def _view(self, node: Token, now_s: float) -> NodeView:
        report = self._reports.get(node)
        is_lost = self._is_lost.get(node, False)
        return NodeView(
            node=node,
            replicas=tuple(self._replicas.get(node, {}).values()),
            status=None if report is None else report.status,
            is_live=not is_lost and report is not None and report.is_recent(now_s),
            is_registered=node in self._is_lost,
            is_lost=is_lost,
            heard_at_s=None if report is None else report.heard_at_s,
        )


def _wish(desired: ModelDesired, scaled: ModelScaled | None) -> Wish:
    if scaled is None:
        return Wish(desired=desired, scaled=None)
    return Wish(desired=desired, scaled=scaled.replicas, scaled_in=scaled.regions)
