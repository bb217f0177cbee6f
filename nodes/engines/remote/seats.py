"""Who is asking a server now, and who waits: at most as many requests at once as it serves."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from nodes.engine import EngineLoad
from nodes.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Seats:
    """So many requests run; those above wait in order."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._running = 0
        self._waiting = 0
        self.stopped = False

    @asynccontextmanager
    async def taken(self) -> AsyncGenerator[None, None]:
        """Hold one of them.

        Raises:
            EngineUnavailable: the engine was stopped.
        """
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            self.check()
            yield
        finally:
            self._running -= 1
            self._free.release()

    def check(self) -> None:
        """Raise where nothing runs any more.

        Raises:
            EngineUnavailable: the engine was stopped.
        """
        if self.stopped:
            raise EngineUnavailable("the engine was stopped")

    def load(self) -> EngineLoad:
        """Count both."""
        return EngineLoad(running=self._running, waiting=self._waiting)
