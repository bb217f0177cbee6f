"""The registry: what nodes claim of themselves becomes a fact here, after a check, and what they are becomes an event.

Registries share the work by a queue group. Two of them may write the same fact at once; the fold of the roster makes
nothing of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.requests import Desk
from mesh.errors import BusError, NoResponders
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.events import (
    DeviceLost,
    DeviceRegistered,
    DeviceReturned,
    ModelAnnounced,
    ModelWithdrawn,
)
from streams.messages import Announce, Announced
from streams.subjects import MESH
from streams.tokens import Token

if TYPE_CHECKING:
    from gateway.roster_feed import RosterFeed
    from mesh.bus.departures import Departures
    from mesh.bus.direct_client import Delivery
    from mesh.bus.service_bus import Bus
    from streams.events import DeviceEvent, ModelEvent
    from streams.roster import NodeView

log = logging.getLogger(__name__)

_QUEUE: Final = "registries"
_LOOK_S: Final = 0.5
_RETURN_GRACE_S: Final = 0.3
"""A node whose connection broke may be back this quickly: then nothing has happened."""
_PROBE_TIMEOUT: Final = timedelta(seconds=1)


class Registry:
    """Serves announcements and notices who has fallen silent."""

    def __init__(self, bus: Bus, feed: RosterFeed, departures: Departures | None = None) -> None:
        """Prepare; start the roster feed first. Without ``departures`` a lost node is noticed by its silence alone."""
        if departures is not None:
            departures.on_departure = self._on_departure
        self._bus = bus
        self._feed = feed
        self._desk = Desk(bus.edge)
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
        known = self._feed.roster.node(node, now_s=self._feed.now_s())
        await self._note_presence(node, known, claim.software)
        await self._note_models(node, known, claim)
        return Announced(accepted=True)

    async def _note_presence(self, node: Token, known: NodeView | None, software: str) -> None:
        if known is None or not known.is_registered:
            registered = DeviceRegistered(at_ms=now_ms(), node=node, software=software)
            await self._write_device(node, "registered", registered)
        elif known.is_lost:
            await self._write_device(node, "returned", DeviceReturned(at_ms=now_ms(), node=node))

    async def _note_models(self, node: Token, known: NodeView | None, claim: Announce) -> None:
        before = {replica.model: replica for replica in known.replicas} if known is not None else {}
        for replica in claim.replicas:
            if before.pop(replica.model, None) != replica:
                await self._write_model(node, replica.model, ModelAnnounced(at_ms=now_ms(), node=node, replica=replica))
        for model in before:
            gone = ModelWithdrawn(at_ms=now_ms(), node=node, model=model, reason="no longer announced")
            await self._write_model(node, model, gone)

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
