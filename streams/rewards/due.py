"""Which weeks are to be closed: those that are over, from the first that gives something, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.rewards.epochs import epoch, last_over

if TYPE_CHECKING:
    from streams.rewards.book import RewardBook
    from streams.rewards.epochs import Epoch


def weeks_due(book: RewardBook, *, first: Epoch, at_ms: int) -> list[Epoch]:
    """Return the weeks that are over at a moment and were not closed, the oldest first.

    Args:
        book: the rules, and what was closed.
        first: the week of the first device: before it there was nobody to give anything to.
        at_ms: the moment, in Unix milliseconds.
    """
    if not book.rules:
        return []
    begins = max(first.number, min(each.from_epoch for each in book.rules))
    return [epoch(number) for number in range(begins, last_over(at_ms) + 1) if number not in book.closed]
