"""Deleting files whose time is over. Nobody can read them from that moment on; their bytes go a little later."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from mesh.errors import MeshError
from mesh.files.expired import expired_files
from streams.clock import now_ms
from streams.errors import StreamsError

if TYPE_CHECKING:
    from gateway.http.site import Site
    from mesh.files.store import FileStore

log = logging.getLogger(__name__)

EVERY_S: Final = 600.0


class Expiry:
    """Looks once in a while, in each gateway: deleting twice is fine."""

    def __init__(self, site: Site, store: FileStore) -> None:
        """Look after all that ``store`` has."""
        self._site = site
        self._store = store
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look; the first time is a while from now."""
        self._looking = asyncio.create_task(self._look(), name="file-expiry")

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking

    async def sweep(self) -> int:
        """Delete what is over, and take it out of the vector stores; returns how many files that were.

        Raises:
            BusError: if the streams cannot be read or written.
        """
        over = await expired_files(self._site.bus.core, now_ms())
        for account, file in over:
            await self._site.shelf.forget_file(account, file)
            await self._store.delete(account, file)
        return len(over)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.sweep()
            except (MeshError, StreamsError) as error:
                log.warning("files whose time is over stay until the next look: %s", error)
