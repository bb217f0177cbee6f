"""A clock that stands still while this process cannot hear the bus, so that its own deafness is nobody's silence.

A broker that restarts or hangs, a link that drops, an event loop that is held up: afterwards every node has been quiet
for seconds, and none of them is lost.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener

_EVERY_S: Final = 0.4
_DEAF_AFTER_S: Final = 1.0
_RETURN_GRACE_S: Final = 2.0
"""Whoever was cut off by the same fault needs a moment longer than we did to come back."""


class Hearing:
    """Sends itself a message now and then; time counts only while they arrive."""

    def __init__(self, link: Link) -> None:
        """Prepare; before ``start`` the clock just runs."""
        self._link = link
        self._subject = f"{link.inbox}.echo"
        self._heard_at_s = time.monotonic()
        self._lost_s = 0.0
        self._latest_s = 0.0
        self._listener: Listener | None = None
        self._sender: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen to ourselves."""
        self._listener = await self._link.listen(self._subject, self._on_echo)
        self._heard_at_s = time.monotonic()
        self._sender = asyncio.create_task(self._send(), name="hearing")

    async def stop(self) -> None:
        """Listen no more."""
        if self._sender is not None:
            self._sender.cancel()
        if self._listener is not None:
            await self._listener.close()

    def now_s(self) -> float:
        """Seconds of hearing; never goes back."""
        now_s = time.monotonic()
        if self._sender is not None:
            now_s = min(now_s, self._heard_at_s + _DEAF_AFTER_S)
        self._latest_s = max(self._latest_s, now_s - self._lost_s)
        return self._latest_s

    def _on_echo(self, _: Delivery) -> None:
        now_s = time.monotonic()
        deaf_s = now_s - self._heard_at_s - _DEAF_AFTER_S
        if deaf_s > 0:
            self._lost_s += deaf_s + _RETURN_GRACE_S
        self._heard_at_s = now_s

    async def _send(self) -> None:
        while True:
            self._link.send(self._subject, b"")
            await asyncio.sleep(_EVERY_S)
