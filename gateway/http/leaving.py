"""How a gateway leaves: answers may end for a while, then every reader is told where to go on."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from datetime import timedelta

    from gateway.http.following import Follower


class Leaving:
    """Knows who reads an answer here, and how far the farewell has come."""

    def __init__(self) -> None:
        """Start with nobody, and no thought of leaving."""
        self.has_begun = False
        """Nothing new is taken."""
        self.is_over = False
        """Whoever still reads is to be sent on."""
        self._readers: set[Follower] = set()
        self._nobody = asyncio.Event()
        self._on_begin: list[Callable[[], None]] = []

    def on_begin(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` as soon as the gateway begins to leave."""
        self._on_begin.append(callback)

    def begin(self) -> None:
        """Take nothing new; twice is fine."""
        if not self.has_begun:
            self.has_begun = True
            for callback in self._on_begin:
                callback()

    @contextmanager
    def reading(self, follower: Follower) -> Generator[None]:
        """Know a reader, inside a ``with`` block."""
        self._readers.add(follower)
        try:
            yield
        finally:
            self._readers.discard(follower)
            if self.has_begun and not self._readers:
                self._nobody.set()

    async def drain(self, patience: timedelta) -> None:
        """Wait until nobody reads an answer any more, or patience ends; whoever reads then is woken to be sent on."""
        if self._readers:
            with suppress(TimeoutError):
                # Not wait_for: in Python 3.11 that loses a cancellation which comes together with the event.
                async with asyncio.timeout(patience.total_seconds()):
                    await self._nobody.wait()
        self.is_over = True
        for reader in self._readers:
            reader.wake()
