"""Server-sent events, as far as chat endpoints use them: the ``data`` of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nodes.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import StreamReader

_LONGEST_LINE: Final = 1 << 20
"""No piece of an answer is longer; a server that sends no line breaks must not fill the memory."""


async def data_lines(content: StreamReader) -> AsyncIterator[bytes]:
    """Yield what stands behind ``data:`` in each line, until the server ends the stream.

    Chat endpoints write one line of data per event, so lines need not be gathered. Names of events, ids and comments
    are passed over.

    Raises:
        EngineError: a line has no end.
    """
    rest = b""
    async for part in content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if data := _data_of(line):
                yield data
        if len(rest) > _LONGEST_LINE:
            raise EngineError("the server sent what is no stream of events: a line without an end")
    if data := _data_of(rest):
        yield data


def _data_of(line: bytes) -> bytes:
    name, _, value = line.partition(b":")
    return value.strip() if name == b"data" else b""
