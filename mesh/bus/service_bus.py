"""The bus as our own services hold it: a connection in each account, and the readers that need both."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from mesh.bus.answer import ServiceSource
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.live import LiveEvent, LiveFeed
from mesh.bus.store_feed import StoreFeed
from mesh.bus.store_version import refuse_newer_store
from mesh.bus.task_log import TaskLog
from mesh.tls.contexts import ClientTls
from streams import subjects
from streams.codec import decode_end_event, encode
from streams.errors import StreamsError
from streams.tasks.task import closing

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.direct_client import Delivery
    from streams.events import EndEvent
    from streams.subjects import TaskKey
    from streams.topology import Account


log = logging.getLogger(__name__)


class BusOptions(Struct, frozen=True, kw_only=True):
    """Where the bus is and who we are; ``results_streams`` must be what the mesh was provisioned with."""

    servers: tuple[str, ...]
    tls: ClientTls = ClientTls()
    """How servers that are reached over ``tls://`` prove who they are."""
    name: str
    """Unique among services: it is in the inbox prefix and in the broker's list of connections."""
    edge_seed: Path
    core_seed: Path
    results_streams: int = 4


class Bus:
    """A service's two connections. Claims are read on ``edge``; facts are written on ``core``."""

    def __init__(self, options: BusOptions, edge: Link, core: Link) -> None:
        """Wrap two open connections; ``connect`` does this."""
        self.options = options
        self.edge = edge
        self.core = core
        self.log = TaskLog(edge, options.results_streams)
        self.feed = LiveFeed(edge)
        self.source = ServiceSource(self.feed, self.log)
        self.stores = StoreFeed(core)
        self._on_end: list[Callable[[TaskKey, EndEvent], None]] = []

    @classmethod
    async def connect(cls, options: BusOptions) -> Self:
        """Open both connections.

        Raises:
            BusUnavailable: if the broker cannot be reached or refuses a credential.
            StoreTooNew: if a newer version has made the streams.
        """
        edge = await Link.connect(_link(options, options.edge_seed))
        try:
            await refuse_newer_store(edge)
            core = await Link.connect(_link(options, options.core_seed))
        except BaseException:
            await edge.close()
            raise
        return cls(options, edge, core)

    async def follow(self) -> None:
        """Begin to hear what is stored for tasks, and of the brokers; a process that serves users calls this once."""
        await self.feed.start()
        await self.stores.start()
        await self.core.listen(subjects.SETTLED_ALL, self._on_settled)

    def _on_settled(self, delivery: Delivery) -> None:
        # The end is a fact before its marker is stored, which takes one more sync: readers need not wait for that.
        try:
            end = decode_end_event(delivery.data)
            marker = closing(end)
            key = subjects.parse_ended(delivery.subject)
        except StreamsError as error:
            log.warning("an end on %s is left to its marker: %s", delivery.subject, error)
            return
        self.source.put_end(key, LiveEvent(sequence=0, writer=subjects.MESH, data=encode(marker)))
        for handler in self._on_end:
            handler(key, end)

    def on_end(self, handler: Callable[[TaskKey, EndEvent], None]) -> Callable[[], None]:
        """Call ``handler`` with every task that ends and how, from the read loop; returns a function that ends it."""
        self._on_end.append(handler)
        return lambda: self._on_end.remove(handler)

    @property
    def links(self) -> dict[Account, Link]:
        """The connections by account, for provisioning."""
        return {"EDGE": self.edge, "CORE": self.core}

    @property
    def is_connected(self) -> bool:
        """Whether both accounts are reachable right now."""
        return self.edge.is_connected and self.core.is_connected

    async def close(self) -> None:
        """Send what is queued and disconnect from both."""
        await asyncio.gather(self.edge.close(), self.core.close())

    async def __aenter__(self) -> Self:
        """Use as a context manager."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self.close()


def _link(options: BusOptions, seed: Path) -> LinkOptions:
    prefix = f"_INBOX.svc.{options.name}"
    return LinkOptions(
        servers=options.servers,
        tls=options.tls,
        name=f"service:{options.name}",
        inbox_prefix=prefix,
        seed_file=seed,
        may_ask_streams=True,
    )
