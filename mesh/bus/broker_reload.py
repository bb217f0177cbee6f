"""Having a server of our own read its configuration again: for renewed certificates, and for other edge sites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import msgspec
from msgspec import Struct

from mesh.broker.monitoring import server_id
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.errors import BusError, TlsNotTaken
from mesh.tls.contexts import ClientTls, TlsFiles, server_context
from mesh.tls.watch import LOOK_EVERY, follow_files

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from mesh.broker.server import EmbeddedServer

_NAME: Final = "server-control"


class _Error(Struct):
    description: str = ""


class _Answer(Struct):
    error: _Error | None = None


class ServerControl:
    """An async context: inside it, the server takes orders in its system account."""

    def __init__(self, server: EmbeddedServer, tls: ClientTls) -> None:
        """Prepare; ``server`` runs, and shows a certificate that ``tls`` trusts, if it shows one."""
        self._server = server
        self._options = LinkOptions(
            servers=(server.url,),
            tls=tls,
            name=f"service:{_NAME}",
            inbox_prefix=f"_INBOX.svc.{_NAME}",
            seed_file=server.credentials.system.seed_path,
        )
        self._link: Link | None = None
        self._id = ""

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            BusUnavailable: if the server cannot be reached.
            OSError: if its monitoring does not answer.
        """
        self._id = await server_id(self._server.monitor)
        self._link = await Link.connect(self._options)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        if self._link is not None:
            await self._link.close()

    async def reload(self) -> None:
        """Have the configuration read again, certificates included.

        Raises:
            BusError: if it cannot be used; the server goes on with the one that it has.
        """
        await self._order("RELOAD", {})

    async def cut(self, connection: int) -> None:
        """Break one connection or link, by the server's own number.

        Raises:
            BusError: if the server does not know it, or cannot be asked.
        """
        await self._order("KICK", {"cid": connection})

    async def _order(self, what: str, body: dict[str, int]) -> None:
        if self._link is None:
            raise BusError("not connected: use it as `async with ServerControl(...)`")
        answer = await self._link.request(f"$SYS.REQ.SERVER.{self._id}.{what}", msgspec.json.encode(body))
        error = msgspec.json.decode(answer.data, type=_Answer).error
        if error is not None:
            raise BusError(f"the server refuses {what}: {error.description}")


async def follow_certificates(server: EmbeddedServer, tls: ClientTls, *, every: timedelta = LOOK_EVERY) -> None:
    """Have the server show renewed certificates, for ever, without breaking a connection."""
    pairs = server.certificates

    async def renew() -> None:
        # nats-server would take a key that does not fit for the reason to end, were it started again with it.
        for pair in pairs:
            server_context(pair)
        try:
            async with ServerControl(server, tls) as control:
                await control.reload()
        except (BusError, OSError) as error:
            raise TlsNotTaken(f"nats-server cannot be told: {error}") from error

    await follow_files(_all_of(pairs), renew, every=every)


def _all_of(pairs: tuple[TlsFiles, ...]) -> tuple[Path, ...]:
    return tuple(path for pair in pairs for path in pair.given)
