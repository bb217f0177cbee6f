"""The one clock of events and deadlines."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the time in Unix milliseconds, as events carry it."""
    return time.time_ns() // 1_000_000
