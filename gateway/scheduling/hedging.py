"""When a second node is asked for the first word too, and how often that may be (ADR 18). Pure: no clock of its own.

What is usual is kept as a ratio, of how long first words took to how long they were expected to take: so a long prompt
is not taken for a slow node, and what was measured under one load says something under another.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.scheduling.case import Case
    from gateway.scheduling.wish import Wish

PERCENT: Final = 95
LEAST_SAMPLES: Final = 20
"""Of fewer the 95th percentile is whichever was the longest."""

GUESSED_RATIO: Final = 3.0
"""Where too few were measured: three times as long as was expected."""

_KEPT_OF_A_REPLICA: Final = 64
_KEPT_OF_A_MODEL: Final = 512
_MOST_PLACES: Final = 4096
_SHORTEST_S: Final = 0.001

_MOST_SAVED: Final = 10.0
"""Hedges that may be owed from quiet times, so that they do not all come at once when the mesh gets slow."""


class Patience(NamedTuple):
    """How long nothing need be written before that is unusual."""

    after_s: float
    samples: int
    """How many first words say so; 0: it is predicted."""


class FirstWords:
    """How first words came, against what was expected, by replica and by model."""

    def __init__(self, floor_s: float) -> None:
        """Never be impatient before ``floor_s``."""
        self._floor_s = floor_s
        self._ratios: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def note(self, node: str, model: str, *, took_s: float, expected_s: float) -> None:
        """A first word came after ``took_s``; or had not, when a second node had its own."""
        ratio = took_s / max(expected_s, _SHORTEST_S)
        self._of(node, model, _KEPT_OF_A_REPLICA).append(ratio)
        self._of("", model, _KEPT_OF_A_MODEL).append(ratio)

    def patience(self, node: str, model: str, *, expected_s: float) -> Patience:
        """How long to wait for a node: by its own first words, by those of all that serve the model, or by a guess."""
        for place in ((node, model), ("", model)):
            ratios = self._ratios.get(place, ())
            if len(ratios) >= LEAST_SAMPLES:
                usual = sorted(ratios)[math.ceil(len(ratios) * PERCENT / 100) - 1]
                return Patience(max(usual * expected_s, self._floor_s), len(ratios))
        return Patience(max(GUESSED_RATIO * expected_s, self._floor_s), 0)

    def _of(self, node: str, model: str, most: int) -> deque[float]:
        ratios = self._ratios.setdefault((node, model), deque(maxlen=most))
        self._ratios.move_to_end((node, model))
        if len(self._ratios) > _MOST_PLACES:
            self._ratios.popitem(last=False)
        return ratios


class Allowance:
    """Lets so many hedges pass for so many attempts: a mesh that is slow altogether must not double its own load."""

    def __init__(self, share: float) -> None:
        """``share`` of all attempts may be hedged; the first one may at once."""
        self._share = share
        self._left = 1.0 if share else 0.0

    @property
    def is_open(self) -> bool:
        """Whether anything is ever hedged."""
        return self._share > 0

    def earn(self) -> None:
        """An attempt begins."""
        self._left = min(self._left + self._share, _MOST_SAVED)

    def spend(self) -> bool:
        """Take one hedge; False where there is none to take."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


def is_urgent(wish: Wish, own_policy: str) -> bool:
    """Whether a task asks for haste: by its class, or by its policy; a check of an answer never does.

    A task that lost its nodes may be what kills them, and one with a part of its answer has had its first word.
    """
    asks = wish.service_class == "interactive" or (wish.rules.policy or own_policy) == "latency"
    is_first_word = wish.kind == "chat" and not wish.has_text
    return asks and is_first_word and wish.check is None and not wish.is_suspect


# --- filters for the second node ---------------------------------------------------------------------------------


def another(case: Case) -> str | None:
    """It is not the one that has the task."""
    return "it has the task already" if case.seat.node == case.wish.beside else None


def unbilled(case: Case) -> str | None:
    """It asks no provider, who would bill its owner for an answer that comes too late as well."""
    return "a provider outside bills for what is not used" if case.seat.replica.tier == "cloud" else None


def untried(case: Case) -> str | None:
    """It has not failed this task."""
    return "it has failed this task" if case.seat.node in case.wish.avoid else None


SECOND: Final[tuple[Callable[[Case], str | None], ...]] = (another, unbilled, untried)
"""What a second node must be besides all that the policy asks for."""
