"""The RPC server of a member, as the node sees it: started, asked for connections, stopped."""

from __future__ import annotations

import asyncio
import socket
from typing import Final, Self

from nodes.errors import EngineUnavailable
from nodes.shards.child import ShardChild
from nodes.shards.rpc_binding import RPC_PORT

_START_S: Final = 30.0
_PAUSE_S: Final = 0.02


class RpcServer:
    """One server process, which nobody but this node can reach."""

    def __init__(self, child: ShardChild) -> None:
        """Use ``start``."""
        self._child = child
        self._asking = asyncio.Lock()

    @classmethod
    async def start(cls, *, threads: int, lent_bytes: int) -> Self:
        """Start it, and wait until it listens.

        Raises:
            EngineUnavailable: if it cannot be had on this machine; the message says why.
        """
        child = await ShardChild.start(
            "nodes.shards.rpc_child", str(threads), str(lent_bytes), kind=socket.SOCK_SEQPACKET
        )
        server = cls(child)
        try:
            async with asyncio.timeout(_START_S):
                # It would be its one client: closed at once.
                (await server.connect()).close()
        except (TimeoutError, EngineUnavailable) as error:
            await server.stop()
            raise EngineUnavailable(f"the RPC server did not start: {error or 'it says nothing'}") from error
        return server

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._child.pid

    async def connect(self) -> socket.socket:
        """Return a new connection to the server.

        Raises:
            EngineUnavailable: if it has ended.
        """
        loop = asyncio.get_running_loop()
        ending = asyncio.create_task(self._child.ended())
        try:
            while True:
                inner = await self._inner_socket(ending)
                try:
                    await loop.sock_connect(inner, ("127.0.0.1", RPC_PORT))
                except ConnectionRefusedError:
                    # It does not listen yet.
                    inner.close()
                    await asyncio.sleep(_PAUSE_S)
                else:
                    inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return inner
        finally:
            ending.cancel()

    async def ended(self) -> str:
        """Wait until the server has ended; returns why."""
        return await self._child.ended()

    async def stop(self) -> None:
        """End it, and what it holds."""
        await self._child.stop()

    async def _inner_socket(self, ending: asyncio.Task[str]) -> socket.socket:
        """Have the process make a socket in its own network."""
        channel = self._child.channel
        channel.setblocking(False)
        loop = asyncio.get_running_loop()
        async with self._asking:
            readable: asyncio.Future[None] = loop.create_future()
            loop.add_reader(channel, _resolve, readable)
            try:
                await loop.sock_sendall(channel, b"\0")
                await asyncio.wait((readable, ending), return_when=asyncio.FIRST_COMPLETED)
                if not readable.done():
                    raise EngineUnavailable(ending.result())
                _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
            except (BrokenPipeError, ConnectionResetError):
                descriptors = []
            finally:
                loop.remove_reader(channel)
        if not descriptors:
            raise EngineUnavailable(await ending)
        inner = socket.socket(fileno=descriptors[0])
        inner.setblocking(False)
        return inner


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
