"""Looking every few seconds how much the devices have sent, and saying who has sent too much."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from mesh.errors import DeviceError, MeshError
from mesh.identity.traffic import Counted, Sent, TrafficMeter
from streams.subjects import node_of_connection

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener
    from mesh.identity.connections import Connections
    from mesh.identity.traffic import Allowance
    from streams.tokens import Token

log = logging.getLogger(__name__)

LOOK_EVERY: Final = timedelta(seconds=5)
_DISCONNECTED: Final = "$SYS.ACCOUNT.EDGE.DISCONNECT"

OnExcess = Callable[["Token", str], Awaitable[None]]
"""Gets a device and what it did."""


class _Server(Struct, frozen=True):
    id: str = ""


class _Client(Struct, frozen=True):
    id: int = 0
    user: str = ""


class _Amount(Struct, frozen=True):
    msgs: int = 0
    bytes: int = 0


class _Disconnected(Struct, frozen=True):
    server: _Server = _Server()
    client: _Client = _Client()
    sent: _Amount = _Amount()
    """By the client."""


_event: Final = msgspec.json.Decoder(_Disconnected)


class TrafficWatch:
    """Runs from ``start`` to ``stop``."""

    def __init__(self, system: Link, connections: Connections, allowance: Allowance, on_excess: OnExcess) -> None:
        """Hear on ``system``, a connection in the account SYS, and ask by ``connections``."""
        self._system = system
        self._connections = connections
        self._allowance = allowance
        self._on_excess = on_excess
        self._meter = TrafficMeter()
        self._listener: Listener | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, *, every: timedelta) -> None:
        """Begin to look; nothing is looked at where nothing is limited.

        Raises:
            BusUnavailable: if the connection is closed.
        """
        if self._allowance.has_any:
            self._listener = await self._system.listen(_DISCONNECTED, self._on_disconnect)
            self._task = asyncio.create_task(self._run(every.total_seconds()), name="traffic-watch")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._listener is not None:
            await self._listener.close()

    async def _run(self, every_s: float) -> None:
        while True:
            try:
                await self.look()
            except MeshError as error:
                log.warning("how much devices send is not known now: %s", error)
            await asyncio.sleep(every_s)

    async def look(self) -> None:
        """Take in what all devices have sent, and report those that sent too much.

        Raises:
            BusError: if the broker cannot be asked, or the report cannot be written; the next look tries again.
        """
        for server, found in (await self._connections.counted()).items():
            self._meter.look(server, found, time.monotonic())
        for name, sent in self._meter.last_minute(time.monotonic()).items():
            node, excess = node_of_connection(name), self._allowance.excess(sent)
            if node is not None and excess:
                await self._report(node, name, excess)

    async def _report(self, node: Token, name: str, excess: str) -> None:
        try:
            await self._on_excess(node, excess)
        except DeviceError as error:
            log.warning("%s: %s; it is left alone: %s", node, excess, error)
        self._meter.forget(name)

    def _on_disconnect(self, delivery: Delivery) -> None:
        try:
            told = _event.decode(delivery.data)
        except msgspec.DecodeError as error:
            log.warning("the broker's word of a disconnection cannot be read: %s", error)
            return
        sent = Sent(told.sent.msgs, told.sent.bytes)
        self._meter.ended(told.server.id, Counted(told.client.id, told.client.user, sent), time.monotonic())
