"""What speaks for and against a seat, each in seconds: what the task would lose there, or gain.

A policy weighs and adds them up. Seconds, because then all of them can be compared and every figure can be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.scheduling.case import Case

Score = Callable[[Case], float]

_WRITES_ANEW: Final = 9.0
"""How many times over an answer is written, more or less, where an engine cannot go on from what others began."""

_LEAST_REPUTATION: Final = 0.01


def distance(case: Case) -> float:
    """The way to the node and back, as measured."""
    return -case.seat.rtt_s


def prompt(case: Case) -> float:
    """Reading the whole prompt."""
    return -case.prompt_s


def cached(case: Case) -> float:
    """The part of that which the node has read before, and need not again."""
    return case.saved_s


def answer(case: Case) -> float:
    """Writing the answer."""
    return -case.answer_s


def anew(case: Case) -> float:
    """Writing once more what is written already, where the engine cannot go on from it."""
    return -_WRITES_ANEW * case.answer_s if case.wish.has_text and not case.seat.replica.continues else 0.0


def doubt(case: Case) -> float:
    """The time that is lost on the average because its answers are not always good: all of it over again."""
    reputation = case.regard.reputation
    if reputation >= 1.0:
        return 0.0
    return -case.finish_s * (1 / max(reputation, _LEAST_REPUTATION) - 1)
