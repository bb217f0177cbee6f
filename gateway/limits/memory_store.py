"""Limits of one gateway that needs no other to know."""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.limits.store import NOTHING_STORED, Stored
from streams.topology import LIMITS_KEPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.limits.store import Owner


class MemoryStore:
    """Keeps limits in this process; they are gone with it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin empty; ``clock`` says seconds."""
        self._held: OrderedDict[Owner, tuple[Stored, float]] = OrderedDict()
        self._marks = itertools.count(1)
        self._clock = clock

    async def read(self, owner: Owner) -> Stored:
        """Return what stands there."""
        self._forget()
        return self._held.get(owner, (NOTHING_STORED, 0.0))[0]

    async def swap(self, owner: Owner, standing: Stored, data: bytes) -> Stored | None:
        """Put ``data`` in the place of ``standing``."""
        if (await self.read(owner)).mark != standing.mark:
            return None
        stored = Stored(data, next(self._marks))
        self._held[owner] = stored, self._clock() + LIMITS_KEPT.total_seconds()
        self._held.move_to_end(owner)
        return stored

    async def close(self) -> None:
        """Nothing is held open."""

    def _forget(self) -> None:
        """The oldest are in front."""
        now_s = self._clock()
        while self._held and next(iter(self._held.values()))[1] <= now_s:
            self._held.popitem(last=False)
