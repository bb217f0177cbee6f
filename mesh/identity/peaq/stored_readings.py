"""What is known of the chain on the mesh's own stream CHAIN: the newest reading of each DID, for a day at most."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import TYPE_CHECKING, Final

from mesh.errors import BusError
from mesh.history.stream_facts import last_message
from mesh.identity.did import parse_did
from mesh.identity.peaq.connection import Entry, Reading
from mesh.identity.peaq.readings import Remembered
from streams import subjects
from streams.codec import decode, encode
from streams.errors import StreamsError
from streams.messages import ChainEntry, ChainReading
from streams.topology import CHAIN

if TYPE_CHECKING:
    from mesh.bus.link import Link

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 0.5
"""Who waits for this waits to be let in."""


class StoredReadings:
    """A store in CORE, where only services write. What cannot be read or is about another DID counts for nothing."""

    def __init__(self, core: Link) -> None:
        """Read and write by a connection of a service."""
        self._core = core

    async def recall(self, name: str) -> Remembered | None:
        """Return the last reading of a DID that was proven once; None also where that cannot be found out now."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                found = await last_message(self._core, CHAIN, _subject(name))
            return None if found is None else _read(name, decode(found.data, ChainReading))
        except TimeoutError:
            log.warning("what is remembered of %s was not read within %g s", name, _PATIENCE_S)
        except (BusError, StreamsError, ValueError) as error:
            log.warning("what is remembered of %s cannot be read: %s", name, error)
        return None

    async def remember(self, name: str, remembered: Remembered) -> None:
        """Keep a reading in the place of the one before; that it cannot be kept is a warning."""
        try:
            await self._core.append(_subject(name), encode(_written(name, remembered)))
        except BusError as error:
            log.warning("what the chain says of %s cannot be remembered: %s", name, error)


def _subject(name: str) -> str:
    return subjects.chain_reading(parse_did(name).fingerprint)


def _written(name: str, remembered: Remembered) -> ChainReading:
    reading, entry = remembered.reading, None
    if reading.entry is not None:
        value = base64.b64encode(reading.entry.value).decode()
        entry = ChainEntry(name=reading.entry.name, value_base64=value, validity=reading.entry.validity)
    return ChainReading(
        did=name,
        read_at_ms=remembered.read_at_ms,
        block=reading.block,
        block_at_ms=round(reading.block_at_s * 1000),
        entry=entry,
    )


def _read(name: str, said: ChainReading) -> Remembered | None:
    if said.did != name:
        return None
    entry = None
    if said.entry is not None:
        value = base64.b64decode(said.entry.value_base64, validate=True)
        entry = Entry(name=said.entry.name, value=value, validity=said.entry.validity)
    return Remembered(Reading(entry=entry, block=said.block, block_at_s=said.block_at_ms / 1000), said.read_at_ms)
