"""A response of server-sent events, which begins with the first bytes that are sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.send_buffers import limit_buffers

if TYPE_CHECKING:
    from datetime import timedelta

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    # A proxy that gathers the answer first would undo the streaming.
    "X-Accel-Buffering": "no",
}
KEEP_ALIVE: Final = b"keep-alive"


class EventStream:
    """Until something is sent, the answer can still become another one: a proper 4xx, say."""

    def __init__(self, request: web.Request, keep_alive: timedelta) -> None:
        """Prepare; nothing goes out yet."""
        self._request = request
        self._keep_alive_s = keep_alive.total_seconds()
        self._sent_at_s = time.monotonic()
        self.response: web.StreamResponse | None = None

    @property
    def is_open(self) -> bool:
        """Whether the client has got the head of the answer."""
        return self.response is not None

    @property
    def quiet_s(self) -> float:
        """For how long nothing has been sent."""
        return time.monotonic() - self._sent_at_s

    async def send(self, data: bytes) -> None:
        """Send events, waiting while the client takes nothing.

        Raises:
            ConnectionError: if the client has gone.
        """
        if self.response is None:
            self.response = web.StreamResponse(headers=_HEADERS)
            await self.response.prepare(self._request)
            limit_buffers(self._request)
        await self.response.write(data)
        self._sent_at_s = time.monotonic()

    async def keep_alive(self, comment: bytes) -> None:
        """Send ``comment`` if nothing was sent for long, so that no proxy takes the connection for dead.

        Raises:
            ConnectionError: if the client has gone.
        """
        if self._request.transport is None:
            raise ConnectionResetError("the client has gone")
        if self.quiet_s >= self._keep_alive_s:
            await self.send(comment)
