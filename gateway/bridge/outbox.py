"""What still has to be written to one connection: bounded, with one writer, so no reader can slow another."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.bridge.wire import Encoded, Format

LIMIT_BYTES: Final = 512 * 1024
"""What may wait for one connection, beside what the kernel holds."""

PATIENCE_S: Final = 15.0
"""How long a reader may take nothing while something waits for it."""


class SlowReader(Exception):
    """The reader does not keep up: end the connection, it can come back and resume."""


class Outbox:
    """Frames in order. Broadcasts are offered and never wait; the follower of one task puts, and waits for room."""

    def __init__(
        self, wire: Format, send: Callable[[bytes], Awaitable[None]], *, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        """Write with ``send``, which returns when the reader has room for more."""
        self._wire = wire
        self._send = send
        self._limit_bytes = limit_bytes
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._overflowed = False

    def offer(self, frame: Encoded) -> None:
        """Add a frame. Where there is no room for it the connection ends, for everybody else is further already."""
        if self._waiting_bytes >= self._limit_bytes:
            self._overflowed = True
        else:
            data = frame.as_bytes(self._wire)
            self._waiting.append(data)
            self._waiting_bytes += len(data)
        self._filled.set()

    async def put(self, frame: Encoded) -> None:
        """Add a frame as soon as there is room; half the outbox is left to what cannot wait."""
        while self._waiting_bytes >= self._limit_bytes // 2:
            self._drained.clear()
            await self._drained.wait()
        self.offer(frame)

    async def run(self) -> None:
        """Write what is added, until cancelled.

        Raises:
            SlowReader: if an offered frame found no room, or the reader took nothing for ``PATIENCE_S``.
            ConnectionError: if the connection is gone.
        """
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting and not self._overflowed:
                await self._write(self._waiting.popleft())
            if self._overflowed:
                raise SlowReader

    async def _write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._send(data)
        except TimeoutError as error:
            raise SlowReader from error
        self._waiting_bytes -= len(data)
        if self._waiting_bytes < self._limit_bytes // 2:
            self._drained.set()
