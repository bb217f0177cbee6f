"""What is to come, in order of time; things of one moment come in the order in which they were put down."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Agenda:
    """Virtual time: it stands still but for ``step``."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.now_s = 0.0
        self._count = 0
        self._entries: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []

    def after(self, wait_s: float, what: Callable[..., None], *given: object) -> None:
        """Put something down for later; what is in the past by a hair comes next."""
        self._count += 1
        heapq.heappush(self._entries, (self.now_s + max(wait_s, 0.0), self._count, what, given))

    def step(self) -> None:
        """Let the next thing happen. There is one as long as a task is open."""
        self.now_s, _, what, given = heapq.heappop(self._entries)
        what(*given)
