"""Asking a gateway whether it is ready, in as much HTTP as that takes."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

_TIMEOUT: Final = timedelta(seconds=5)
_RETRY_S: Final = 0.1
_OK: Final = b"200"


async def wait_until_ready(url: str) -> None:
    """Return when ``GET <url>/readyz`` answers 200; ask again until then. The caller limits how long."""
    while True:
        if await _is_ready(url):
            return
        await asyncio.sleep(_RETRY_S)


async def _is_ready(url: str) -> bool:
    address = urlsplit(url)
    try:
        async with asyncio.timeout(_TIMEOUT.total_seconds()):
            secured = _unproven() if address.scheme == "https" else None
            reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=secured)
            try:
                writer.write(f"GET /readyz HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode())
                status_line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status_line.split()[1:2] == [_OK]


def _unproven() -> ssl.SSLContext:
    """TLS without a proof: nothing is told there, and all that is believed is that somebody is ready on this machine.

    The certificate is for the names by which others come, not for the address where the gateway was just started.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
