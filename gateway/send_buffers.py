"""What is held in memory for a reader that takes nothing: bounded, in the event loop and in the kernel."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

SEND_BUFFER_BYTES: Final = 64 * 1024
"""What the kernel may hold for one reader; by default one that never reads pins megabytes."""
_HIGH_WATER_BYTES: Final = 64 * 1024


def limit_buffers(request: web.Request) -> asyncio.WriteTransport | None:
    """Bound what is held for whoever has sent ``request``; None if the connection is gone already."""
    transport = cast("asyncio.WriteTransport | None", request.transport)
    if transport is None:
        return None
    transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return transport
