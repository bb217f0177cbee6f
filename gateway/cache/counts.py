"""What the cache had for requests, told to the metrics about once a second, since each telling costs 6 us."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

from mesh.telemetry.names import ATTRIBUTE_CACHE, CACHE_REQUESTS, CACHE_STORED

if TYPE_CHECKING:
    from mesh.telemetry.telemetry import Telemetry

Outcome = Literal["hit", "similar", "miss", "followed", "bypass", "away"]
"""``similar``: the answer to another question that means the same. ``followed``: a task that somebody else had begun
wrote the answer. ``away``: a bypass since the store is away."""

_TELL_S: Final = 1.0


class CacheCounts:
    """Counts requests and stored bytes."""

    def __init__(self, telemetry: Telemetry) -> None:
        """Start at none."""
        self._telemetry = telemetry
        self._requests: Counter[Outcome] = Counter()
        self._stored_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def count(self, outcome: Outcome) -> None:
        """Count a request."""
        self._requests[outcome] += 1
        self._tell_soon()

    def stored(self, size: int) -> None:
        """Count the bytes of an answer that was stored."""
        self._stored_bytes += size
        self._tell_soon()

    def tell(self) -> None:
        """Tell now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for outcome, count in self._requests.items():
            self._telemetry.add(CACHE_REQUESTS, count, {ATTRIBUTE_CACHE: outcome})
        if self._stored_bytes:
            self._telemetry.add(CACHE_STORED, self._stored_bytes)
        self._requests.clear()
        self._stored_bytes = 0

    def _tell_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TELL_S, self.tell)
