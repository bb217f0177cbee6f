"""The identity service from its start to its end: who may connect, and who may not any more."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from msgspec import Struct

from mesh.access.credentials_check import CredentialsCheck
from mesh.access.feed import AccessFeed
from mesh.access.session_keys import SessionKeys
from mesh.broker.credentials import IdentityCredentials
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.history.projection_desk import ProjectionDesk
from mesh.identity.callout import HOST_PATIENCE, Callout
from mesh.identity.connections import Connections
from mesh.identity.device_log import DeviceLog
from mesh.identity.gatekeeper import Gatekeeper, connection_name
from mesh.identity.nats_jwt import CalloutKeys
from mesh.identity.peaq.stored_readings import StoredReadings
from mesh.identity.people import BusPeople
from mesh.identity.people_watch import PeopleWatch
from mesh.identity.slowdown import Patience
from mesh.identity.traffic import Allowance
from mesh.identity.traffic_watch import LOOK_EVERY, TrafficWatch
from mesh.tls.contexts import ClientTls
from streams.messages import Projections

if TYPE_CHECKING:
    from pathlib import Path

    from mesh.history.snapshots import SnapshotStore
    from mesh.identity.peaq.readings import ReadingStore
    from streams.devices.fold import Device
    from streams.tokens import Token

log = logging.getLogger(__name__)

SERVICE: Final = "identity"


class IdentityOptions(Struct, frozen=True, kw_only=True):
    """Where the bus is, and whose service this is."""

    servers: tuple[str, ...]
    credentials: IdentityCredentials
    sessions: SessionKeys
    """By which sessions of people are verified."""
    tls: ClientTls = ClientTls()
    patience: Patience = HOST_PATIENCE
    """With one host whose connections are refused."""
    allowance: Allowance = Allowance()
    """What each device may send."""
    look_every: timedelta = LOOK_EVERY
    """How often it is looked how much that is."""


MakeGatekeeper = Callable[["DeviceLog", "BusPeople", "ReadingStore"], "Gatekeeper"]
"""Called with the log of devices, the accounts, and where readings of the chain are remembered."""


class IdentityService:
    """An async context: inside it, the broker's questions are answered and decisions of operators take effect."""

    def __init__(
        self,
        options: IdentityOptions,
        make_gatekeeper: MakeGatekeeper,
        snapshots: SnapshotStore | None = None,
    ) -> None:
        """Prepare; what ``make_gatekeeper`` gets is read before it is asked."""
        self._options = options
        self._make_gatekeeper = make_gatekeeper
        self._snapshots = snapshots
        self._stack = AsyncExitStack()
        self._name = f"{SERVICE}-{os.getpid()}-{os.urandom(2).hex()}"
        self._connections: Connections | None = None

    async def __aenter__(self) -> Self:
        """Connect, read who there is, and begin to answer.

        Raises:
            BusUnavailable: if the broker cannot be reached or refuses a credential.
            BusError: if the log of devices cannot be read.
        """
        async with AsyncExitStack() as stack:
            credentials = self._options.credentials
            core = await self._connect(stack, credentials.core_service.seed_path, may_ask_streams=True)
            system = await self._connect(stack, credentials.system.seed_path)
            auth = await self._connect(stack, credentials.identity.seed_path)
            devices, access = DeviceLog(core, self._snapshots), AccessFeed(core, self._snapshots)
            # First: once the logs are read over the same connection, the broker knows of it.
            desk = ProjectionDesk(core, lambda: (self._told(devices, access),))
            for part in (desk, devices, access):
                await part.start()
                stack.push_async_callback(part.stop)
            self._connections = Connections(system)
            stack.push_async_callback(self._connections.stop)
            devices.on_change = self._on_device
            traffic = TrafficWatch(
                system, self._connections, self._options.allowance, partial(_shut_out_for_flooding, devices)
            )
            await traffic.start(every=self._options.look_every)
            stack.push_async_callback(traffic.stop)
            # Decisions that were made while nobody was here.
            shut_out = [device for device in devices.devices.all() if device.is_shut_out]
            if shut_out:
                self._connections.cut_soon(frozenset(connection_name(device.node) for device in shut_out))
            people = self._people(stack, access, self._connections)
            gatekeeper = self._make_gatekeeper(devices, people, StoredReadings(core))
            keys = CalloutKeys(credentials.issuer, credentials.sealed)
            callout = Callout(auth, keys, gatekeeper, patience=self._options.patience)
            await callout.start()
            stack.push_async_callback(callout.stop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answer what is under way, and disconnect."""
        await self._stack.aclose()

    def _told(self, devices: DeviceLog, access: AccessFeed) -> Projections:
        """What the logs add up to here, for `ig3 events verify`."""
        return Projections(service=self._name, folds=(devices.told(), access.told()))

    def _people(self, stack: AsyncExitStack, access: AccessFeed, connections: Connections) -> BusPeople:
        people = BusPeople(CredentialsCheck(access, self._options.sessions), access.access)
        watch = PeopleWatch(access, people, self._options.sessions, connections)
        stack.callback(access.subscribe(watch.look))
        stack.push_async_callback(watch.stop)
        watch.start()
        return people

    def _on_device(self, device: Device) -> None:
        if device.is_shut_out and self._connections is not None:
            self._connections.cut_soon(frozenset({connection_name(device.node)}))

    async def _connect(self, stack: AsyncExitStack, seed: Path, *, may_ask_streams: bool = False) -> Link:
        link = await Link.connect(
            LinkOptions(
                servers=self._options.servers,
                tls=self._options.tls,
                name=f"service:{self._name}",
                inbox_prefix=f"_INBOX.svc.{self._name}",
                seed_file=seed,
                may_ask_streams=may_ask_streams,
            )
        )
        stack.push_async_callback(link.close)
        return link


async def _shut_out_for_flooding(devices: DeviceLog, node: Token, excess: str) -> None:
    known = devices.devices.device(node)
    # Every identity service sees it: what one of them has written is enough.
    if known is None or not known.is_shut_out:
        log.warning("device %s is suspended: %s", node, excess)
        await devices.suspend(node, by=SERVICE, reason=excess)
