"""The process of a leader: its engine, in a private network where the members' servers seem to be on loopback.

``python -m nodes.shards.engine_child FD SERVERS``: FD is its end of a pair of stream sockets. First it sends a socket
for each server, which it has made in here and listens on; the node carries what is said to each of them to a member.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import msgspec

from nodes.engines.llama.llama_cpp_python import LlamaCppPythonEngine
from nodes.errors import EngineError, EngineUnavailable, RequestRefused
from nodes.shards.engine_wire import Answer, Drop, Load, Loaded, Over, Progress, ToEngine, Wrote, frame, read_frame
from nodes.shards.private_network import enter_private_network
from nodes.shards.rpc_binding import RPC_PORT, add_rpc_server, import_rpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodes.engine import Loading

_decoder: Final = msgspec.msgpack.Decoder(ToEngine)


class EngineServer:
    """Serves one node with one engine."""

    def __init__(self, servers: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes from ``reader``."""
        self._servers = servers
        self._reader = reader
        self._writer = writer
        self._engine: LlamaCppPythonEngine | None = None
        self._answers: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve until the node closes the connection."""
        while True:
            try:
                message = await read_frame(self._reader, _decoder)
            except (EOFError, OSError):
                return
            match message:
                case Load():
                    await self._load(message)
                case Answer():
                    self._answers[message.number] = asyncio.create_task(self._answer(message))
                case Drop() if message.number in self._answers:
                    self._answers[message.number].cancel()
                case _:
                    # An answer that has ended meanwhile.
                    pass

    async def _load(self, load: Load) -> None:
        try:
            for number in range(self._servers):
                await asyncio.to_thread(add_rpc_server, RPC_PORT + number)
            self._engine = LlamaCppPythonEngine(load.spec, self._on_loading, load.offload)
            replica = await self._engine.start()
        except EngineError as error:
            self._say(_failure(0, error))
        else:
            self._say(Loaded(replica=replica))

    async def _answer(self, asked: Answer) -> None:
        over = Over(number=asked.number)
        try:
            if self._engine is None:
                raise EngineUnavailable("nothing is loaded")
            async with aclosing(self._engine.generate(asked.request)) as pieces:
                async for piece in pieces:
                    self._say(Wrote(number=asked.number, piece=piece))
        except EngineError as error:
            over = _failure(asked.number, error)
        finally:
            self._answers.pop(asked.number, None)
            self._say(over)

    def _on_loading(self, loading: Loading) -> None:
        self._say(Progress(loading=loading))

    def _say(self, message: Progress | Loaded | Wrote | Over) -> None:
        self._writer.write(frame(message))


def _failure(number: int, error: EngineError) -> Over:
    if isinstance(error, RequestRefused):
        return Over(number=number, failure="refused", code=error.code, message=error.message)
    is_gone = isinstance(error, EngineUnavailable)
    return Over(number=number, failure="unavailable" if is_gone else "failed", message=str(error))


def main(arguments: Sequence[str]) -> None:
    """Serve until the node closes the pair, or ends this process."""
    descriptor, servers = (int(text) for text in arguments)
    channel = socket.socket(fileno=descriptor)
    try:
        enter_private_network()
        import_rpc()
    except EngineUnavailable as error:
        sys.exit(str(error))
    listening = [_listen(RPC_PORT + number) for number in range(servers)]
    socket.send_fds(channel, [b"\0"], [each.fileno() for each in listening])
    for each in listening:
        each.close()
    asyncio.run(_serve(servers, channel))


def _listen(port: int) -> socket.socket:
    listening = socket.create_server(("127.0.0.1", port))
    # What it accepts inherits this.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


async def _serve(servers: int, channel: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=channel)
    await EngineServer(servers, reader, writer).run()


if __name__ == "__main__":
    main(sys.argv[1:])
