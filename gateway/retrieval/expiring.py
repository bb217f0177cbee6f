"""Stores whose time is over: the first retrieval process that sees one says so, and then its passages are deleted."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mesh.errors import BusError
from streams.clock import now_ms
from streams.errors import StreamsError

if TYPE_CHECKING:
    from gateway.retrieval.following import IndexFollower
    from gateway.retrieval.store_log import StoreLog

log = logging.getLogger(__name__)

_EVERY: Final = timedelta(seconds=30)


class Expirer:
    """Looks at all stores that ``follower`` knows, now and then. What is not said when it dies another says."""

    def __init__(self, follower: IndexFollower, stores: StoreLog, *, every: timedelta = _EVERY) -> None:
        """Look ``every`` so often; the follower is started before."""
        self._follower = follower
        self._stores = stores
        self._every_s = every.total_seconds()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="expirer")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            for key in self._follower.due(now_ms()):
                try:
                    # That its time is over is stored before anything else is, and used meanwhile it is not.
                    await self._stores.note(key, lambda _: None)
                except (BusError, StreamsError) as error:
                    log.warning("store %s has expired, which cannot be stored now: %s", key.store, error)
            await asyncio.sleep(self._every_s)
