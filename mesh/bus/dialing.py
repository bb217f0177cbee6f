"""Opening a connection to NATS: where, as whom, and what is said when it breaks."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from mesh.errors import BusUnavailable

if TYPE_CHECKING:
    from nats.aio.client import Server

    from mesh.bus.direct_client import DirectClient

log = logging.getLogger(__name__)

_ROUND_PAUSE_S: Final = 0.25
"""Before the servers that were all tried in vain are tried once more."""
_PING_S: Final = 3
_MOST_PINGS: Final = 2
"""Pings without an answer after which a server counts as hung: nine seconds, where nats-py waits for six minutes."""


class LinkOptions(Struct, frozen=True, kw_only=True):
    """How to connect. ``seed_file`` None connects without credentials, which the shipped broker refuses."""

    servers: tuple[str, ...]
    """All servers of the cluster: where one does not serve, the others are tried."""
    name: str
    inbox_prefix: str
    seed_file: Path | None = None
    connect_timeout: timedelta = timedelta(seconds=5)
    may_ask_streams: bool = False
    """Whether the broker lets this user ask JetStream: services may, devices and people may not."""


class _Turn:
    """Whose turn it is when a connection is lost: the other servers first, in any order, then the same one again."""

    def __init__(self, client: DirectClient) -> None:
        self._client = client
        self._tried: set[str] = set()

    def begin(self) -> None:
        self._tried = {self._client.server_address}

    def __call__(self, servers: list[Server], _: dict[str, Any]) -> tuple[Server | None, float]:
        fresh = [server for server in servers if server.uri.netloc not in self._tried]
        if not fresh:
            self._tried.clear()
        chosen = random.choice(fresh or servers)  # noqa: S311 - spreads clients over servers, guards nothing
        self._tried.add(chosen.uri.netloc)
        return chosen, 0.0 if fresh else _ROUND_PAUSE_S


class _Complaints:
    """What nats-py complains about. While the bus is away it repeats itself at each try: then once is enough."""

    def __init__(self, client: DirectClient, name: str) -> None:
        self._client = client
        self._name = name
        self.turn = _Turn(client)
        self._said: dict[str, None] = {}

    def __str__(self) -> str:
        return "; ".join(self._said)

    async def on_error(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if self._client.is_connected or text not in self._said:
            log.warning("connection %s: %s", self._name, text)
        if not self._client.is_connected:
            self._said[text] = None

    async def on_drop(self) -> None:
        if not self._client.is_leaving:
            log.warning("connection %s lost, reconnecting", self._name)
        self.turn.begin()
        self._client.on_drop()

    async def on_return(self) -> None:
        self._said.clear()
        log.info("connection %s is back, at %s", self._name, self._client.server_address)
        self._client.on_return()

    async def on_end(self) -> None:
        self._client.on_end()


async def dial(client: DirectClient, options: LinkOptions) -> None:
    """Connect a client.

    Raises:
        BusUnavailable: if no server answers in time or the credentials are refused.
    """
    complaints = _Complaints(client, options.name)
    timeout_s = options.connect_timeout.total_seconds()
    try:
        async with asyncio.timeout(timeout_s):
            await client.connect(
                servers=list(options.servers),
                name=options.name,
                inbox_prefix=options.inbox_prefix.encode(),
                nkeys_seed=str(options.seed_file) if options.seed_file else None,
                error_cb=complaints.on_error,
                disconnected_cb=complaints.on_drop,
                reconnected_cb=complaints.on_return,
                closed_cb=complaints.on_end,
                reconnect_to_server_handler=complaints.turn,
                ping_interval=_PING_S,
                max_outstanding_pings=_MOST_PINGS,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_ROUND_PAUSE_S,  # pyright: ignore[reportArgumentType] - used as seconds to sleep, so a float will do
                skip_subject_validation=True,
            )
    except Exception as error:
        await client.leave()
        reason = str(error) or str(complaints) or f"no answer within {timeout_s:g} s"
        raise BusUnavailable(f"cannot reach the bus at {', '.join(options.servers)}: {reason}") from error
