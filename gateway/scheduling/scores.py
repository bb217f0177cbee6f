"""What speaks for and against a seat, each in seconds: what the task would lose there, or gain.

A policy weighs and adds them up. Seconds, because then all of them can be compared and every figure can be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.scheduling.case import Case

if TYPE_CHECKING:
    from gateway.scheduling.wish import Kind, Level

Score = Callable[[Case], float]

_WRITES_ANEW: Final = 9.0
"""How many times over an answer is written, more or less, where an engine cannot go on from what others began."""

_LEAST_REPUTATION: Final = 0.01

_OUTSIDE_S: Final[dict[Level, float]] = {"simple": 3600.0, "moderate": 120.0, "hard": 10.0}
"""How many seconds sooner a provider must have the answer before the mesh's own devices are passed by."""

_MICRO_PER_MILLION: Final = 1e12
"""Prices are in millionths, for a million tokens."""

_UP_HALF_S: Final = 3600.0
_SHORTEST_S: Final = 0.001


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


def returning(case: Case) -> float:
    """What a node that has just come back must still show: it gets its share of tasks little by little."""
    warmth = case.seat.warmth(case.now_s)
    return 0.0 if warmth >= 1.0 else -case.finish_s * (1 / warmth - 1)


def late(case: Case) -> float:
    """By how much the answer would come after the deadline."""
    left_s = case.wish.left_s
    return 0.0 if left_s is None else min(0.0, left_s - case.finish_s)


def outside(case: Case) -> float:
    """How much faster a provider outside must be to be worth it: the easier the task, the more."""
    return -_OUTSIDE_S[case.wish.level] if case.seat.replica.tier == "cloud" else 0.0


def price(case: Case) -> float:
    """What it costs, in units of its currency."""
    asked, wish = case.seat.replica.price, case.wish
    if asked is None:
        return 0.0
    cached_micro = asked.prompt_micro if asked.cached_prompt_micro is None else asked.cached_prompt_micro
    read = (wish.prompt_tokens - case.cached_tokens) * asked.prompt_micro + case.cached_tokens * cached_micro
    return -(read + wish.answer_tokens * asked.completion_micro) / _MICRO_PER_MILLION


def unlike_asked(case: Case) -> float:
    """How much less welcome this model is than the best of those that may answer for an alias."""
    return 0.0 if case.losses_s is None else -case.losses_s.get(case.seat.model, 0.0)


def power(case: Case) -> float:
    """What a device would rather not do now: it runs on its battery, is hot, or pays for its link."""
    strain = case.seat.strain
    return -strain * case.finish_s if strain else 0.0


# --- for odds: each in doublings of them -------------------------------------------------------------------------


def stake(case: Case) -> float:
    """What its owner has put at stake: twice as much, twice the odds."""
    return math.log2(1 + case.regard.stake)


def uptime(case: Case) -> float:
    """How long it has been here without a break: half the odds after an hour of what they are in the end."""
    up_s = max(case.now_s - case.seat.up_since_s, 1.0)
    return math.log2(up_s / (up_s + _UP_HALF_S))


def latency(case: Case) -> float:
    """When the answer would be there: twice as late, half the odds."""
    return -math.log2(max(case.finish_s, _SHORTEST_S))


def merit(case: Case) -> float:
    """Its reputation, as it is."""
    return math.log2(max(case.regard.reputation, _LEAST_REPUTATION))


MATTERS: Final[dict[Score, Callable[[Kind], bool]]] = {
    anew: lambda kind: kind.has_text,
    late: lambda kind: kind.has_deadline,
    unlike_asked: lambda kind: kind.is_of_several,
    cached: lambda kind: kind.has_prefix,
}
"""Scores that are nothing for most wishes, and for which they are something."""
