"""Keeping a roster up to date in this process: the log of models and devices, and the nodes' reports."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.roster.hearing import Hearing
from mesh.history.checkpoint import Checkpoint
from mesh.history.roster_log import DEVICE_SUBJECTS, MODEL_SUBJECTS, RosterDevices, RosterModels, node_of
from mesh.history.tail import StreamTail
from streams import subjects
from streams.codec import decode
from streams.devices.roster import Roster
from streams.errors import StreamsError
from streams.messages import NodeStatus
from streams.topology import DEVICES, MODELS

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Listener
    from mesh.bus.service_bus import Bus
    from mesh.history.checkpoint import Projection
    from mesh.history.snapshots import SnapshotStore
    from streams.tokens import Token

log = logging.getLogger(__name__)

OnChange = Callable[[str], None]
"""Called with the node that something was heard of."""


class RosterFeed:
    """Feeds one ``Roster``. Questions go to ``roster`` with ``now_s()``."""

    def __init__(self, bus: Bus, snapshots: SnapshotStore | None = None) -> None:
        """Prepare; ``start`` reads what is stored, from the newest of ``snapshots`` on where there is one."""
        self.roster = Roster()
        self._bus = bus
        self._models = RosterModels(self.roster)
        self._devices = RosterDevices(self.roster)
        self.models = StreamTail(
            bus.core,
            MODELS,
            MODEL_SUBJECTS,
            self._on_model,
            checkpoint=self._checkpoint(MODELS, self._models, snapshots),
        )
        self.devices = StreamTail(
            bus.core,
            DEVICES,
            DEVICE_SUBJECTS,
            self._on_device,
            checkpoint=self._checkpoint(DEVICES, self._devices, snapshots),
        )
        self._hearing = Hearing(bus.edge)
        self._reports: Listener | None = None
        self._watchers: list[OnChange] = []

    async def start(self) -> None:
        """Read both streams and follow them and the reports from then on.

        Raises:
            BusError: if the streams cannot be read.
        """
        await self._hearing.start()
        await self.devices.start()
        await self.models.start()
        self._reports = await self._bus.edge.listen(subjects.STATUS_ALL, self._on_report)
        for view in self.roster.nodes(now_s=self.now_s()):
            self._ask_for_report(view.node)

    async def stop(self) -> None:
        """Stop following."""
        await self.models.stop()
        await self.devices.stop()
        if self._reports is not None:
            await self._reports.close()
        await self._hearing.stop()

    def now_s(self) -> float:
        """The clock that the roster is asked with, in seconds: it stands still while the bus is not heard."""
        return self._hearing.now_s()

    def subscribe(self, on_change: OnChange) -> Callable[[], None]:
        """Call ``on_change`` whenever something is heard of a node; returns a function that ends it, once or more."""
        self._watchers.append(on_change)

        def unsubscribe() -> None:
            if on_change in self._watchers:
                self._watchers.remove(on_change)

        return unsubscribe

    def _checkpoint(self, stream: str, projection: Projection, snapshots: SnapshotStore | None) -> Checkpoint | None:
        return None if snapshots is None else Checkpoint(self._bus.core, stream, projection, snapshots)

    def _on_model(self, sequence: int, subject: str, data: bytes) -> None:
        self._models.apply(sequence, subject, data)
        node = node_of(subject)
        view = self.roster.node(node, now_s=self.now_s())
        if self._reports is not None and view is not None and view.status is None:
            self._ask_for_report(node)
        self._tell(node)

    def _on_device(self, sequence: int, subject: str, data: bytes) -> None:
        self._devices.apply(sequence, subject, data)
        self._tell(node_of(subject))

    def _on_report(self, delivery: Delivery) -> None:
        try:
            node = subjects.parse_status(delivery.subject)
            status = decode(delivery.data, NodeStatus)
        except StreamsError as error:
            log.warning("a status report was ignored: %s", error)
            return
        self.roster.apply_status(node, status, now_s=self.now_s())
        self._tell(node)

    def _ask_for_report(self, node: Token) -> None:
        # Its next heartbeat may be seconds away, and until it reports nothing is placed there.
        self._bus.edge.send(subjects.node_inbox(node, "report"), b"")

    def _tell(self, node: str) -> None:
        for watcher in tuple(self._watchers):
            watcher(node)
