"""The leader's end of a shard link: measured, watched, and carrying what its engine says to the member."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
from typing import TYPE_CHECKING, Final, NamedTuple

from nodes.errors import ShardLinkRefused
from nodes.shards.certificate import leader_context
from nodes.shards.link_protocol import LARGEST_ECHO, PING_S, RPC, SILENCE_S, WATCH, echo, read_echo
from nodes.shards.pump import BUFFER_BYTES, Ends, carry, close

if TYPE_CHECKING:
    import socket
    import ssl

    from mesh.config.address import Address
    from nodes.shards.certificate import LinkCertificate

log = logging.getLogger(__name__)

_HANDSHAKE_S: Final = 5.0
_ROUNDS: Final = 5
_MIB: Final = 1 << 20


class LinkSpeed(NamedTuple):
    """A link as it was measured: there and back again."""

    rtt_ms: float
    mib_per_s: float
    """Each way, both at once."""


class LeaderLink:
    """The way to one member. ``open`` it first."""

    def __init__(self, address: Address, own: LinkCertificate, member: bytes) -> None:
        """Speak to whoever holds ``member`` (a certificate in DER), at ``address``.

        Raises:
            ShardLinkRefused: if ``member`` is no certificate.
        """
        self._address = address
        self._member = member
        self._context = leader_context(own, member)
        self._watching: Ends | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def open(self) -> LinkSpeed:
        """Call the member and measure the link.

        Raises:
            ShardLinkRefused: if the member cannot be reached, or is somebody else.
        """
        try:
            async with asyncio.timeout(SILENCE_S):
                self._watching = watching = await self._dial(WATCH)
                times = [await _timed(watching, b"") for _ in range(_ROUNDS)]
                seconds = await _timed(watching, bytes(LARGEST_ECHO))
        except (OSError, EOFError) as error:
            raise ShardLinkRefused(f"the member at {self._address} cannot be had: {error or 'silence'}") from error
        return LinkSpeed(statistics.median(times) * 1000, LARGEST_ECHO / _MIB / seconds)

    async def lost(self) -> str:
        """Ask the member again and again whether it is there; returns why it is not, once that is so."""
        if self._watching is None:
            return "its link was never opened"
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    await _timed(self._watching, b"")
                await asyncio.sleep(PING_S)
        except TimeoutError:
            return f"it has not answered for {SILENCE_S:.0f} s"
        except (OSError, EOFError) as error:
            return f"its link has ended: {error or type(error).__name__}"

    def serve(self, listening: socket.socket) -> None:
        """Carry each connection that the engine makes to ``listening`` to the member, from now on."""
        self._keep(asyncio.create_task(self._accept(listening), name="shard-link"))

    async def close(self) -> None:
        """Close every connection to the member."""
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        if self._watching is not None:
            await close(self._watching.writer)

    async def _dial(self, purpose: bytes) -> Ends:
        host, port = self._address
        reader, writer = await asyncio.open_connection(
            host, port, ssl=self._context, ssl_handshake_timeout=_HANDSHAKE_S, limit=BUFFER_BYTES
        )
        shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
        if shown.getpeercert(binary_form=True) != self._member:
            await close(writer)
            raise ShardLinkRefused(f"the member at {self._address} shows another certificate than it announced")
        writer.write(purpose)
        return Ends(reader, writer)

    async def _accept(self, listening: socket.socket) -> None:
        listening.setblocking(False)
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                inner, _ = await loop.sock_accept(listening)
                self._keep(asyncio.create_task(self._carry(inner)))

    async def _carry(self, inner: socket.socket) -> None:
        engine = Ends(*await asyncio.open_connection(sock=inner, limit=BUFFER_BYTES))
        try:
            member = await self._dial(RPC)
        except (OSError, ShardLinkRefused) as error:
            log.warning("the engine's call to the member at %s came to nothing: %s", self._address, error)
            await close(engine.writer)
            return
        with contextlib.suppress(OSError):
            await carry(engine, member)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._open.add(task)
        task.add_done_callback(self._open.discard)


async def _timed(watching: Ends, payload: bytes) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    watching.writer.write(echo(payload))
    await watching.writer.drain()
    await read_echo(watching.reader)
    return loop.time() - began
