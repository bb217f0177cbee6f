"""Weeks as rewards count them: from Thursday 02:00 UTC to the next one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from streams.errors import InvalidEpoch

EPOCH_MS: Final = 7 * 24 * 3600 * 1000
"""Milliseconds in an epoch: UTC has no summer time, and Unix time has no leap seconds."""

_FIRST_MS: Final = 2 * 3600 * 1000
"""Where epoch 0 begins: 1 January 1970 was a Thursday."""

_MOST: Final = 400_000
"""Up to the year 9636: further off is a mistake in a number."""


class Epoch(Struct, frozen=True, order=True):
    """One week, by its number since 1970-01-01 02:00 UTC."""

    number: int

    @property
    def begins_at_ms(self) -> int:
        """Its first millisecond (Unix time)."""
        return _FIRST_MS + self.number * EPOCH_MS

    @property
    def ends_at_ms(self) -> int:
        """The first millisecond behind it, which is the first one of the next."""
        return self.begins_at_ms + EPOCH_MS

    @property
    def day(self) -> str:
        """The Thursday on which it begins, as ``2026-11-26``."""
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.begins_at_ms)).strftime("%Y-%m-%d")


def epoch_at(at_ms: int) -> Epoch:
    """Return the epoch that a moment belongs to.

    Raises:
        InvalidEpoch: if the moment is before the first epoch, or beyond the last.
    """
    return epoch((at_ms - _FIRST_MS) // EPOCH_MS)


def last_over(at_ms: int) -> int:
    """Return the number of the last epoch that is over at a moment; below 0: none is."""
    return (at_ms - _FIRST_MS) // EPOCH_MS - 1


def epoch(number: int) -> Epoch:
    """Return the epoch with this number.

    Raises:
        InvalidEpoch: if there is none.
    """
    if not 0 <= number <= _MOST:
        raise InvalidEpoch(f"There is no epoch {number}: they count from 0 (1970-01-01 02:00 UTC) to {_MOST}.")
    return Epoch(number)


def parse_epoch(text: str) -> Epoch:
    """Return the epoch that a number, or a day in it (``2026-11-28``), names.

    A Thursday names the epoch that begins on it.

    Raises:
        InvalidEpoch: if it is neither.
    """
    if text.isascii() and text.isdecimal():
        return epoch(int(text[:12]))
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidEpoch(f"{text!r} is no epoch. Give its number, or a day in it as 2026-11-28.") from error
    return epoch_at(round(day.timestamp()) * 1000 + _FIRST_MS)
