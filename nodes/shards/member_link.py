"""The member's end of a shard link: it opens a port for one leader, and for nobody else."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from mesh.config.address import Address
from nodes.errors import EngineUnavailable, ShardLinkRefused
from nodes.shards.certificate import member_context
from nodes.shards.link_protocol import RPC, SILENCE_S, WATCH, echo, read_echo
from nodes.shards.pump import BUFFER_BYTES, Ends, carry, close

if TYPE_CHECKING:
    import ssl

    from nodes.shards.certificate import LinkCertificate
    from nodes.shards.rpc_server import RpcServer

log = logging.getLogger(__name__)

_HANDSHAKE_S: Final = 5.0
_FIRST_CALL_S: Final = 60.0
"""How long a leader may take to call for the first time."""


class MemberLink:
    """One open port, from joining a group to leaving it."""

    def __init__(self, server: RpcServer, own: LinkCertificate, leader: bytes) -> None:
        """Lead whoever holds ``leader`` (a certificate in DER) to ``server``.

        Raises:
            ShardLinkRefused: if ``leader`` is no certificate.
        """
        self._server = server
        self._leader = leader
        self._context = member_context(own, leader)
        self._listening: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._silence = asyncio.get_running_loop().call_later(_FIRST_CALL_S, self._end, "the leader never called")

    async def open(self, listen: Address) -> Address:
        """Begin to listen; returns where, if the port was left open.

        Raises:
            ShardLinkRefused: if that is not possible.
        """
        try:
            self._listening = await asyncio.start_server(
                self._on_connection, listen.host, listen.port, ssl=self._context,
                ssl_handshake_timeout=_HANDSHAKE_S, limit=BUFFER_BYTES,
            )  # fmt: skip
        except OSError as error:
            raise ShardLinkRefused(f"cannot listen on {listen} for the group: {error.strerror or error}") from error
        return Address(listen.host, self._listening.sockets[0].getsockname()[1])

    async def abandoned(self) -> str:
        """Wait until the leader has gone, or fallen silent; returns which."""
        return await asyncio.shield(self._over)

    async def close(self) -> None:
        """Close the port and every connection."""
        self._silence.cancel()
        if self._listening is not None:
            self._listening.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._converse(Ends(reader, writer)), name="shard-link")
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _converse(self, leader: Ends) -> None:
        try:
            await self._serve(leader)
        except (OSError, EOFError, EngineUnavailable) as error:
            log.debug("a connection of the leader has ended: %s", error)
        finally:
            await close(leader.writer)

    async def _serve(self, leader: Ends) -> None:
        shown: ssl.SSLObject = leader.writer.get_extra_info("ssl_object")
        if shown.getpeercert(binary_form=True) != self._leader:
            log.warning("somebody showed another certificate than the leader's, signed by the leader's key: refused")
            return
        match await leader.reader.readexactly(1):
            case bytes(purpose) if purpose == RPC:
                inner = await self._server.connect()
                await carry(leader, Ends(*await asyncio.open_connection(sock=inner, limit=BUFFER_BYTES)))
            case bytes(purpose) if purpose == WATCH:
                await self._be_watched(leader)
            case unknown:
                log.warning("the leader wants %r, which this version does not know", unknown)

    async def _be_watched(self, leader: Ends) -> None:
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    payload = await read_echo(leader.reader)
                self._silence.cancel()
                leader.writer.write(echo(payload))
                await leader.writer.drain()
        except (OSError, EOFError) as error:
            self._end(f"the leader has gone: {error or 'it is silent'}")
            raise

    def _end(self, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(reason)
