"""Carrying bytes both ways between two connections, until one of them ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, NamedTuple

BUFFER_BYTES: Final = 1 << 20
"""How much may lie between the two in each direction."""


class Ends(NamedTuple):
    """One connection, as asyncio's streams have it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def carry(one: Ends, other: Ends) -> None:
    """Carry until either side has ended or failed, and close both."""
    ways = {
        asyncio.create_task(_one_way(one.reader, other.writer)),
        asyncio.create_task(_one_way(other.reader, one.writer)),
    }
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await asyncio.gather(close(one.writer), close(other.writer))


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection; one that has failed already is no error."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        await writer.wait_closed()


async def _one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(BUFFER_BYTES):
            writer.write(piece)
            await writer.drain()
