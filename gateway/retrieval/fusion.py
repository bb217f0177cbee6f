"""Joining several orders of the same things into one, by the rank that each thing has in each of them.

Reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009): what is first in one order and nowhere in the other
comes behind what is near the top of both. Scores are not looked at: those of vectors and of words do not compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

T = TypeVar("T", bound="Hashable")

SMOOTHING: Final = 3
"""How little the first ranks count above those behind them.

The paper has 60, for orders that find much of the same. Here the two find different things, and what is first in one of
them is worth most. Chosen on the questions for tuning (docs/retrieval.md)."""


_DIGITS: Final = 6


class Order(NamedTuple, Generic[T]):
    """Things, the best first and each once, and how much this order of them counts."""

    things: Sequence[T]
    weight: float = 1.0


def fuse(orders: Sequence[Order[T]], *, smoothing: int = SMOOTHING) -> list[tuple[T, float]]:
    """Return all things, the best first, with scores from 0 to 1; 1 is what is first in all orders.

    Equals keep the order in which they come first in ``orders``.
    """
    most = sum(order.weight for order in orders) / (smoothing + 1)
    scores: dict[T, float] = {}
    for things, weight in orders:
        for rank, thing in enumerate(things, 1):
            scores[thing] = scores.get(thing, 0.0) + weight / (smoothing + rank)
    ranked = sorted(scores.items(), key=lambda scored: -scored[1])
    return [(thing, round(score / most, _DIGITS)) for thing, score in ranked] if most else []
