"""Answers of other servers, of which only so much is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import PayoutError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

_CHUNK_BYTES = 64 * 1024


async def body_of(response: ClientResponse, most_bytes: int) -> bytes:
    """Return the whole body of an answer.

    Raises:
        PayoutError: if it is longer than ``most_bytes``.
    """
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > most_bytes:
            raise PayoutError(f"the answer is longer than {most_bytes} bytes: that is no answer to a payout")
    return bytes(body)
