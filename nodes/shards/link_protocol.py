"""What is said first on a shard link, behind the TLS handshake: what the connection is for."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

RPC: Final = b"R"
"""All that follows is llama.cpp's RPC."""

WATCH: Final = b"W"
"""What follows is measured lengths with as many bytes, each sent back as it came: is the other end still there?"""

PING_S: Final = 1.0
"""How often a leader asks."""

SILENCE_S: Final = 8.0
"""A side that hears nothing for so long takes the other for lost."""

LARGEST_ECHO: Final = 1 << 20

_LENGTH: Final = struct.Struct(">I")


def echo(payload: bytes) -> bytes:
    """Return a frame of a watching connection."""
    return _LENGTH.pack(len(payload)) + payload


async def read_echo(reader: asyncio.StreamReader) -> bytes:
    """Read one frame.

    Raises:
        EOFError: if the connection ends before it is whole, or the frame is too long.
        OSError: if the connection fails.
    """
    (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if size > LARGEST_ECHO:
        raise EOFError(f"a frame of {size} bytes on a watching connection")
    return await reader.readexactly(size)
