"""A policy: which filters hold, how scores weigh, and how one of the able seats is drawn. A value with a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from gateway.scheduling.filters import Filter
    from gateway.scheduling.scores import Score

Draw = Literal["best", "weighted", "uniform"]
"""``best``: the highest score. ``weighted``: one of the best few, at odds that their scores give. ``uniform``: any."""


class Weighted(NamedTuple):
    """A score and what it counts for."""

    score: Score
    weight: float = 1.0

    @property
    def name(self) -> str:
        """What it is called in a placement's record."""
        return self.score.__name__


class Policy(NamedTuple):
    """Change one of these and its version goes up: a record names the rule that it was made by."""

    name: str
    version: int
    filters: tuple[Filter, ...]
    scores: tuple[Weighted, ...]
    draw: Draw = "best"
    top: int = 8
    """Of how many a weighted draw is made."""
    halving_s: float = 1.0
    """By how many seconds of score the odds of a weighted draw halve."""

    def __hash__(self) -> int:
        """By name and version alone: a placement must not hash all functions of its policy."""
        return hash((self.name, self.version))

    @property
    def label(self) -> str:
        """Name and version, as a placement's record has them."""
        return f"{self.name}.v{self.version}"
