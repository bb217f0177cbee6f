"""How long to wait before something that ended by itself is started again."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

FIRST: Final = timedelta(milliseconds=100)
LONGEST: Final = timedelta(seconds=5)
STEADY: Final = timedelta(seconds=30)
"""What ran this long was fine: its next restart is quick again."""


class Backoff:
    """Doubles from ``FIRST`` to ``LONGEST`` while what is started does not last."""

    def __init__(self) -> None:
        """Begin with the shortest wait."""
        self._next = FIRST

    def after(self, lasted_s: float) -> timedelta:
        """Return how long to wait now, given how many seconds the last run lasted."""
        delay = FIRST if lasted_s >= STEADY.total_seconds() else self._next
        self._next = min(delay * 2, LONGEST)
        return delay
