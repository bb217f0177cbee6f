"""Reading the chain without blocking: one thread, one connection, and other endpoints when that one fails."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from mesh.errors import ChainUnavailable
from mesh.identity.peaq.connection import Connection, shown_endpoint
from mesh.identity.peaq.place import Place

if TYPE_CHECKING:
    from mesh.identity.peaq.connection import Reading
    from mesh.identity.peaq.options import ChainOptions

_ACCOUNT_BYTES: Final = 32
_CLOSE_POLL_S: Final = 0.05

PAUSE_S: Final = 2.0
"""After no endpoint could be used, nobody waits for the next attempt within this time."""


class ChainReader:
    """Reads places on the chain. Make it once per process: it keeps its connection.

    The first reading imports substrate-interface and decodes the chain's metadata, some seconds of work that
    ``connect_soon`` does ahead.
    """

    def __init__(self, options: ChainOptions, *, pause_s: float = PAUSE_S) -> None:
        """Connect to nothing yet."""
        self._options = options
        self._pause_s = pause_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="peaq")
        self._connection = Connection(options)
        self._endpoint = ""
        self._paused: tuple[float, str] | None = None
        self._is_closing = False

    def connect_soon(self) -> None:
        """Connect in the background. If that fails, the next reading says so."""
        self._thread.submit(self._read, Place(bytes(_ACCOUNT_BYTES), ("",)))

    async def read(self, place: Place) -> Reading:
        """Read what stands at a place, in the last finalised block.

        Raises:
            ChainUnavailable: if no endpoint can be used; the text says why for each.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, place)

    async def close(self) -> None:
        """Cut the connection, and let the thread end."""
        self._is_closing = True
        self._thread.submit(self._connection.close)
        ending = asyncio.create_task(asyncio.to_thread(self._thread.shutdown))
        while not ending.done():
            # Again, for what was just being dialled.
            self._connection.abort()
            await asyncio.wait((ending,), timeout=_CLOSE_POLL_S)

    def _read(self, place: Place) -> Reading:
        if self._paused is not None and time.monotonic() < self._paused[0]:
            raise ChainUnavailable(self._paused[1])
        if self._connection.is_open:
            # A connection that idled may have been closed at the other end: that says nothing about the endpoint.
            try:
                return self._connection.read(place)
            except ChainUnavailable:
                self._connection.close()
        problems: list[str] = []
        for endpoint in self._endpoints():
            if self._is_closing:
                raise ChainUnavailable("no more readings: it was closed")
            try:
                self._connection.open(endpoint)
                reading = self._connection.read(place)
            except ChainUnavailable as error:
                self._connection.close()
                problems.append(f"{shown_endpoint(endpoint)}: {error}")
            else:
                self._endpoint = endpoint
                return reading
        told = f"no endpoint of the chain can be used ({'; '.join(problems)})"
        self._paused = (time.monotonic() + self._pause_s, told)
        raise ChainUnavailable(told)

    def _endpoints(self) -> list[str]:
        """All of them, beginning with the one that served last."""
        return sorted(self._options.endpoints, key=lambda endpoint: endpoint != self._endpoint)
