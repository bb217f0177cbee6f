"""What came of the tasks, and what it adds up to under one policy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from streams.subjects import TaskKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.devices.replica import Price

_MICRO_PER_MILLION: Final = 1e12


class Outcome(Struct, frozen=True, kw_only=True):
    """How one task ended; it does so once."""

    key: TaskKey
    is_completed: bool
    first_token_s: float | None
    """From when it was asked to when the first token was there, whoever wrote it; None: there was none."""
    finish_s: float
    attempts: int
    prompt_tokens: int
    """Of the last attempt, as all below."""
    cached_tokens: int
    is_at_edge: bool
    cost: float
    """Of all attempts, in USD: also those that came to nothing."""


class Hedged(Struct, kw_only=True):
    """How it went with second devices; counted as it goes."""

    share: float
    asked: int = 0
    won: int = 0


class Summary(Struct, frozen=True, kw_only=True):
    """One policy in one scenario."""

    scenario: str
    policy: str
    nodes: int
    tasks: int
    completed: int
    failed: int
    first_token_p50_s: float | None
    """None: so many had no first token that it is infinite."""
    first_token_p99_s: float | None
    finish_p50_s: float | None
    finish_p99_s: float | None
    cost_per_1000: float
    """USD for a thousand tasks."""
    edge_share: float
    """Of the completed ones, those that no provider outside has answered."""
    cached_share: float
    """Of all tokens of prompts, those that needed not be read again."""
    attempts_lost: int
    placements: int
    """How often the scheduler was asked."""
    hedge_share: float = 0.0
    """Of how many attempts a second device might be asked for the first word."""
    hedges: int = 0
    """How often one was."""
    hedges_won: int = 0
    """How often it had the first word."""


def summarise(
    outcomes: Sequence[Outcome],
    *,
    scenario: str,
    policy: str,
    nodes: int,
    placements: int,
    hedging: Hedged | None = None,
) -> Summary:
    """Add up. A task without a first token, or that failed, counts as infinitely late in its percentile."""
    good = [each for each in outcomes if each.is_completed]
    firsts = [math.inf if each.first_token_s is None else each.first_token_s for each in outcomes]
    finishes = [each.finish_s if each.is_completed else math.inf for each in outcomes]
    return Summary(
        scenario=scenario,
        policy=policy,
        nodes=nodes,
        tasks=len(outcomes),
        completed=len(good),
        failed=len(outcomes) - len(good),
        first_token_p50_s=_percentile(firsts, 50),
        first_token_p99_s=_percentile(firsts, 99),
        finish_p50_s=_percentile(finishes, 50),
        finish_p99_s=_percentile(finishes, 99),
        cost_per_1000=1000 * sum(each.cost for each in outcomes) / max(len(outcomes), 1),
        edge_share=_share(sum(each.is_at_edge for each in good), len(good)),
        cached_share=_share(sum(each.cached_tokens for each in outcomes), sum(each.prompt_tokens for each in outcomes)),
        attempts_lost=sum(each.attempts - each.is_completed for each in outcomes),
        placements=placements,
        hedge_share=0.0 if hedging is None else hedging.share,
        hedges=0 if hedging is None else hedging.asked,
        hedges_won=0 if hedging is None else hedging.won,
    )


def cost_of(price: Price | None, *, read: int, cached: int, written: int) -> float:
    """What an attempt costs, in USD; a device without a price costs nothing."""
    if price is None:
        return 0.0
    cached_micro = price.prompt_micro if price.cached_prompt_micro is None else price.cached_prompt_micro
    return (read * price.prompt_micro + cached * cached_micro + written * price.completion_micro) / _MICRO_PER_MILLION


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _percentile(values: Sequence[float], percent: int) -> float | None:
    """The nearest rank; None where that is infinite, or there are none."""
    if not values:
        return None
    found = sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]
    return None if math.isinf(found) else found
