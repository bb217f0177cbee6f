"""Opening a connection to NATS: where, as whom, and what is said when it breaks."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from mesh.errors import BusUnavailable

if TYPE_CHECKING:
    from mesh.bus.direct_client import DirectClient

log = logging.getLogger(__name__)

_RECONNECT_WAIT_S: Final = 0.25


class LinkOptions(Struct, frozen=True, kw_only=True):
    """How to connect. ``seed_file`` None connects without credentials, which the shipped broker refuses."""

    servers: tuple[str, ...]
    name: str
    inbox_prefix: str
    seed_file: Path | None = None
    connect_timeout: timedelta = timedelta(seconds=5)


class _Complaints:
    """What nats-py complains about. While the bus is away it repeats itself at each try: then once is enough."""

    def __init__(self, client: DirectClient, name: str) -> None:
        self._client = client
        self._name = name
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
        self._client.on_drop()

    async def on_return(self) -> None:
        self._said.clear()
        log.info("connection %s is back", self._name)


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
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_WAIT_S,  # pyright: ignore[reportArgumentType] - used as seconds to sleep, so a float will do
                skip_subject_validation=True,
            )
    except Exception as error:
        await client.leave()
        reason = str(error) or str(complaints) or f"no answer within {timeout_s:g} s"
        raise BusUnavailable(f"cannot reach the bus at {', '.join(options.servers)}: {reason}") from error
