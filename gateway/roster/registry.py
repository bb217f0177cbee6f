"""The registry: what nodes claim of themselves becomes a fact here, after a check, and what they are becomes an event.

Registries share the work by a queue group. Two of them may write the same fact at once; the fold of the roster makes
nothing of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.requests import Desk
from gateway.roster.probing import Probing
from gateway.roster.twins import is_taken
from mesh.errors import BusError, NoResponders
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.events import (
    DeviceLost,
    DeviceRegistered,
    DeviceReturned,
    ModelAnnounced,
    ModelRefused,
    ModelWithdrawn,
)
from streams.messages import Announce, Announced
from streams.subjects import MESH
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.roster.feed import RosterFeed
    from mesh.bus.departures import Departures
    from mesh.bus.direct_client import Delivery
    from mesh.bus.service_bus import Bus
    from streams.devices.roster import NodeView
    from streams.events import DeviceEvent, ModelEvent

log = logging.getLogger(__name__)

_QUEUE: Final = "registries"
_LOOK_S: Final = 0.5
_RETURN_GRACE_S: Final = 0.3
"""A node whose connection broke may be back this quickly: then nothing has happened."""
_PROBE_TIMEOUT: Final = timedelta(seconds=30)
"""Nobody waits: a broker that hangs says what it knows when it goes on, and a node that is there says nothing."""


class Registry:
    """Serves announcements and notices who has fallen silent."""

    def __init__(self, bus: Bus, feed: RosterFeed, departures: Departures | None = None) -> None:
        """Prepare; start the roster feed first. Without ``departures`` a lost node is noticed by its silence alone."""
        if departures is not None:
            departures.on_departure = self._on_departure
        self._bus = bus
        self._feed = feed
        self._desk = Desk(bus.edge)
        self._probing = Probing(bus.edge)
        self._newest: Counter[Token] = Counter()
        self._refused: dict[tuple[Token, str], str] = {}
        self._unsubscribe = feed.subscribe(self._on_report)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to serve, and ask every node that is known to announce itself again."""
        announce = subjects.node_api_all("announce")
        await self._desk.serve(announce, Announce, self._announce, queue=_QUEUE, inbox_of=subjects.inbox_of_node_call)
        self._task = asyncio.create_task(self._watch(), name="registry-watch")
        for view in self._feed.roster.nodes(now_s=self._feed.now_s()):
            self._ask_to_announce(view.node)

    async def stop(self) -> None:
        """Serve no more."""
        self._unsubscribe()
        self._probing.stop()
        await self._desk.stop()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _on_report(self, name: str) -> None:
        """A node that was given up but reports is here after all: have it announce itself, which brings it back."""
        view = self._feed.roster.node(Token(name), now_s=self._feed.now_s())
        if view is not None and view.is_lost and view.reports_now(self._feed.now_s()):
            self._ask_to_announce(view.node)

    def _on_departure(self, node: Token) -> None:
        self._desk.spawn(self._look_for(node))

    async def _look_for(self, node: Token) -> None:
        """Note that a node is lost if nobody listens in its place any more: the broker knows that at once."""
        await asyncio.sleep(_RETURN_GRACE_S)
        try:
            await self._bus.edge.request(subjects.node_inbox(node, "report"), b"", timeout=_PROBE_TIMEOUT)
        except NoResponders:
            await self._note_loss(node, "it has left the bus")
        except BusError:
            # It may well be there: a report is no answer to a request.
            return

    async def _note_loss(self, node: Token, reason: str) -> None:
        view = self._feed.roster.node(node, now_s=self._feed.now_s())
        if view is None or view.is_lost:
            return
        try:
            await self._write_device(node, "lost", DeviceLost(at_ms=now_ms(), node=node, reason=reason))
        except BusError as error:
            log.warning("the loss of node %s could not be noted: %s", node, error)

    def _ask_to_announce(self, node: Token) -> None:
        self._bus.edge.send(subjects.node_inbox(node, "registry"), b"")

    async def _announce(self, delivery: Delivery, claim: Announce) -> Announced:
        node = subjects.parse_call(delivery.subject).caller
        if node == MESH:
            return Announced(accepted=False, reason=f"{MESH!r} is the writer of services: choose another node id")
        self._newest[node] += 1
        number = self._newest[node]
        if await is_taken(self._bus.edge, self._feed, node, claim.process):
            reason = f"another process serves as node {node!r}"
            log.warning("an announcement was refused: %s", reason)
            return Announced(accepted=False, reason=reason, taken=True)
        known = self._known(node)
        await self._note_presence(node, known, claim.software)
        refused = await self._probe(node, claim)
        if self._newest[node] != number:
            return Announced(accepted=False, reason="a newer announcement has come meanwhile")
        await self._note_models(node, self._known(node), claim, refused)
        return Announced(accepted=True, refused=tuple(f"{model}: {reason}" for model, reason in refused.items()))

    def _known(self, node: Token) -> NodeView | None:
        return self._feed.roster.node(node, now_s=self._feed.now_s())

    async def _probe(self, node: Token, claim: Announce) -> dict[str, str]:
        """Try what is new; returns by model why it is not taken."""
        known = self._known(node)
        before = known.replicas if known is not None else ()
        new = [replica for replica in claim.replicas if replica not in before]
        objections = await asyncio.gather(*(self._probing.objection_to(node, replica) for replica in new))
        return {replica.model: why for replica, why in zip(new, objections, strict=True) if why is not None}

    async def _note_presence(self, node: Token, known: NodeView | None, software: str) -> None:
        if known is None or not known.is_registered:
            registered = DeviceRegistered(at_ms=now_ms(), node=node, software=software)
            await self._write_device(node, "registered", registered)
        elif known.is_lost:
            await self._write_device(node, "returned", DeviceReturned(at_ms=now_ms(), node=node))

    async def _note_models(
        self, node: Token, known: NodeView | None, claim: Announce, refused: Mapping[str, str]
    ) -> None:
        before = {replica.model: replica for replica in known.replicas} if known is not None else {}
        for replica in claim.replicas:
            if replica.model in refused:
                before.pop(replica.model, None)
                await self._refuse(node, replica.model, refused[replica.model])
            elif before.pop(replica.model, None) != replica:
                self._refused.pop((node, replica.model), None)
                await self._write_model(node, replica.model, ModelAnnounced(at_ms=now_ms(), node=node, replica=replica))
        for model in before:
            gone = ModelWithdrawn(at_ms=now_ms(), node=node, model=model, reason="no longer announced")
            await self._write_model(node, model, gone)

    async def _refuse(self, node: Token, model: str, reason: str) -> None:
        log.warning("node %s announced %s and cannot serve it: %s", node, model, reason)
        if self._refused.get((node, model)) != reason:  # one that comes again and again fills no log
            self._refused[(node, model)] = reason
            await self._write_model(node, model, ModelRefused(at_ms=now_ms(), node=node, model=model, reason=reason))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            for node in self._feed.roster.silent(now_s=self._feed.now_s()):
                await self._note_loss(node, "no status report in time")

    async def _write_device(self, node: Token, kind: subjects.DeviceKind, event: DeviceEvent) -> None:
        sequence = await self._bus.core.append(subjects.device(node, kind), encode(event))
        await self._feed.devices.reach(sequence)

    async def _write_model(self, node: Token, model: str, event: ModelEvent) -> None:
        sequence = await self._bus.core.append(subjects.model(node, model), encode(event))
        await self._feed.models.reach(sequence)
