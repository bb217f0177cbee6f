"""A chain that says, fails and is silent as a test wants it, with a clock of its own."""

import asyncio
import time

from mesh.errors import ChainUnavailable
from mesh.identity.did import Did
from mesh.identity.peaq.connection import Entry, Reading
from mesh.identity.peaq.place import Place, place_of


class Chain:
    """A source whose answers, silence and clock the test decides about."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.entries: dict[bytes, Entry] = {}
        self.is_down = False
        self.gate: asyncio.Event | None = None
        self.reads = 0
        self._read = asyncio.Event()

    async def asked(self, reads: int = 1) -> None:
        """Wait until it was asked so many times."""
        while self.reads < reads:
            await self._read.wait()
            self._read.clear()

    async def read(self, place: Place) -> Reading:
        self.reads += 1
        self._read.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.is_down:
            raise ChainUnavailable("down")
        return Reading(entry=self.entries.get(place.account), block=1000, block_at_s=time.time())

    def put(self, did: Did, value: bytes = b"", *, validity: int = 2**32 - 1) -> None:
        self.entries[place_of(did).account] = Entry(name="x", value=value, validity=validity)
