"""A websocket client on a bare socket, for what a well-behaved library does not let a test do: stop reading."""

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urlsplit

TEXT = 0x1
CLOSE = 0x8
_LIMIT_S = 60.0
_SMALL = 4096


class RawWebsocket:
    """Reads only when asked to, into a receive buffer that holds next to nothing."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.received = b""

    @classmethod
    async def connect(cls, url: str) -> Self:
        address = urlsplit(url)
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (address.hostname, address.port))
        head = (
            f"GET {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n"
        )
        await loop.sock_sendall(connection, head.encode())
        client = cls(connection)
        while b"\r\n\r\n" not in client.received:
            client.received += await loop.sock_recv(connection, _SMALL)
        assert client.received.startswith(b"HTTP/1.1 101"), client.received
        client.received = client.received.partition(b"\r\n\r\n")[2]
        return client

    async def send(self, **frame: Any) -> None:
        body = json.dumps(frame).encode()
        assert len(body) < 126
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(body))
        await asyncio.get_running_loop().sock_sendall(self._socket, bytes([0x81, 0x80 | len(body)]) + mask + masked)

    async def read_to_the_end(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_LIMIT_S):
            while data := await loop.sock_recv(self._socket, 1 << 16):
                self.received += data

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Opcode and body of every whole frame that was received."""
        rest = self.received
        while rest:
            opcode, length, rest = rest[0] & 0xF, rest[1] & 0x7F, rest[2:]
            if length == 126:
                length, rest = struct.unpack(">H", rest[:2])[0], rest[2:]
            elif length == 127:
                length, rest = struct.unpack(">Q", rest[:8])[0], rest[8:]
            yield opcode, rest[:length]
            rest = rest[length:]

    def close_code(self) -> int | None:
        """The code in the close frame, if one came."""
        return next((struct.unpack(">H", body[:2])[0] for opcode, body in self.frames() if opcode == CLOSE), None)

    def close(self) -> None:
        self._socket.close()
