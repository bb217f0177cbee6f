"""A client that takes nothing of its answer holds back nobody else's, and next to no memory; it loses nothing by it."""

import asyncio
import fcntl
import json
import socket
import struct
import termios
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.send_buffers import SEND_BUFFER_BYTES
from tests.http_gateway import LIMIT_S, HttpGateway, chat, read_sse, serve_http, text_of
from tests.processes import until
from tests.scripted_mesh import ScriptedMesh, scripted_mesh

pytestmark = pytest.mark.usefixtures("patient_answers")

PIECE = 50_000
PIECES = 60
SMALL, LARGE = 4096, 1 << 20
KERNEL_BYTES = 2 * SEND_BUFFER_BYTES
"""Linux doubles what it is told, for its own needs."""


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[ScriptedMesh]:
    async with scripted_mesh(tmp_path) as running:
        await running.bus.feed.start()
        running.words = ("x" * PIECE,) * PIECES
        yield running


@pytest.fixture
async def gateway(mesh: ScriptedMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus) as serving:
        yield serving


async def ask_and_take_nothing(gateway: HttpGateway) -> socket.socket:
    """Ask for a stream, and read the head of the answer at most."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    connection.setblocking(False)
    loop, body = asyncio.get_running_loop(), json.dumps(chat(stream=True)).encode()
    await loop.sock_connect(connection, ("127.0.0.1", gateway.server.address.port))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    await loop.sock_sendall(connection, b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
    assert (await loop.sock_recv(connection, 12)) == b"HTTP/1.1 200"
    return connection


def held_for(gateway: HttpGateway, connection: socket.socket) -> tuple[int, int]:
    """How many bytes are kept for a client by the kernel, and by the event loop."""
    peer = connection.getsockname()
    server = gateway.server._runner.server
    assert server is not None
    transports = [each.transport for each in server.connections if each.transport is not None]
    transport = next(each for each in transports if each.get_extra_info("peername") == peer)
    raw = transport.get_extra_info("socket")
    (in_kernel,) = struct.unpack("i", fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4)))
    return in_kernel, transport.get_write_buffer_size()


async def test_who_takes_nothing_holds_back_nobody_and_has_the_whole_answer_when_it_reads_on(
    mesh: ScriptedMesh, gateway: HttpGateway
) -> None:
    idle = len(mesh._running)
    stalled = await ask_and_take_nothing(gateway)
    others = await asyncio.gather(*(gateway.ask({"stream": True}) for _ in range(3)))
    for other in others:
        assert text_of(await read_sse(other)) == "x" * PIECE * PIECES
    await until(lambda: len(mesh._running) == idle)
    in_kernel, in_loop = held_for(gateway, stalled)
    assert 0 < in_kernel <= KERNEL_BYTES
    assert 0 < in_loop < PIECE * PIECES / 2
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LARGE)
    received, loop = bytearray(), asyncio.get_running_loop()
    async with asyncio.timeout(LIMIT_S):
        while b"data: [DONE]" not in received[-100:]:
            received += await loop.sock_recv(stalled, LARGE)
    stalled.close()
    assert received.count(b"x") >= PIECE * PIECES
