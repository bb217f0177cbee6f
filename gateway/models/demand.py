"""How many replicas of a model the demand asks for: slow to change, so that a moment's burst moves nothing around."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final, Protocol

from msgspec import Struct

_SLOTS_GUESSED: Final = 4
"""Of a model of which there is no replica to ask."""
_COMFORT: Final = 0.7
"""Fewer replicas are enough only if what runs would take no more of their slots."""


class Pace(Struct, frozen=True, kw_only=True):
    """How long something must last before the number changes."""

    up: timedelta = timedelta(seconds=5)
    down: timedelta = timedelta(minutes=5)
    to_zero: timedelta = timedelta(minutes=10)


class Sight(Struct, frozen=True, kw_only=True):
    """What is seen of one model at one moment."""

    replicas: int
    slots: int
    busy: int
    waiting: int


class Bounds(Protocol):
    """Between which numbers, and how many there shall be now; a ``streams.devices.roster.Wish`` is one."""

    @property
    def least(self) -> int:
        """No fewer."""
        ...

    @property
    def most(self) -> int:
        """No more."""
        ...

    @property
    def wanted(self) -> int:
        """So many now."""
        ...


class Change(Struct, frozen=True, kw_only=True):
    """Another number, and why."""

    replicas: int
    reason: str


class Demand:
    """Watches one model. Times are on a steady clock, in seconds."""

    def __init__(self, pace: Pace, now_s: float) -> None:
        """Begin at ``now_s``: what was before is not known."""
        self._pace = pace
        self._short_since_s: float | None = None
        self._ample_since_s: float | None = None
        self._used_at_s = now_s

    def look(self, bounds: Bounds, sight: Sight, now_s: float) -> Change | None:
        """Say how many replicas there shall be from now on, if that is another number than before."""
        if sight.busy or sight.waiting:
            self._used_at_s = now_s
        wanted = self._up(bounds, sight, now_s) or self._down(bounds, sight, now_s)
        if wanted is not None:
            self._short_since_s = self._ample_since_s = None
        return wanted

    def _up(self, bounds: Bounds, sight: Sight, now_s: float) -> Change | None:
        is_short = sight.waiting > 0 and sight.busy >= sight.slots and bounds.wanted < bounds.most
        # What was asked for and is not here yet will help: more is asked for when that was not enough.
        if not is_short or (bounds.wanted and sight.replicas < bounds.wanted):
            self._short_since_s = None
            return None
        if self._short_since_s is None:
            self._short_since_s = now_s
        if bounds.wanted and now_s - self._short_since_s < self._pace.up.total_seconds():
            return None
        each = sight.slots / sight.replicas if sight.replicas else _SLOTS_GUESSED
        more = max(1, math.ceil(sight.waiting / each)) if bounds.wanted else 1
        return Change(replicas=min(bounds.most, bounds.wanted + more), reason=_in_words(sight.waiting))

    def _down(self, bounds: Bounds, sight: Sight, now_s: float) -> Change | None:
        fewer = bounds.wanted - 1
        if fewer < bounds.least or sight.waiting:
            self._ample_since_s = None
            return None
        if fewer == 0:
            idle_s = now_s - self._used_at_s
            is_due = idle_s >= self._pace.to_zero.total_seconds()
            return Change(replicas=0, reason=f"nobody asked for {idle_s:.0f} s") if is_due else None
        left = min(fewer, sight.replicas) / sight.replicas if sight.replicas else 1.0
        if sight.busy > _COMFORT * sight.slots * left:
            self._ample_since_s = None
            return None
        if self._ample_since_s is None:
            self._ample_since_s = now_s
        if now_s - self._ample_since_s < self._pace.down.total_seconds():
            return None
        return Change(replicas=fewer, reason=f"{sight.busy} of {sight.slots} slots are in use")


def _in_words(waiting: int) -> str:
    return "a task waits" if waiting == 1 else f"{waiting} tasks wait"
