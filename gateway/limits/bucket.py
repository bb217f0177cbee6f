"""One limit per minute as a pure function: what was taken is a debt, and time pays it back at the limit's rate.

A bucket that holds ``limit`` pieces and is filled at ``limit`` a minute (GCRA counts the same from the other end):
whoever was idle may take a whole minute's worth at once, and from then on as much as time gives back. So in any span of
T seconds no more than ``limit * (1 + T / 60)`` are taken. All is whole numbers, so that nothing gets lost by rounding.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.access.limits import RateState

MINUTE_MS: Final = 60_000
PARTS: Final = MINUTE_MS
"""Parts that a piece (a request, a token) is counted in: each millisecond pays back as many parts as the limit says."""

FULL: Final = RateState()
"""A bucket from which nothing was taken."""


class Draw(NamedTuple):
    """What somebody wants of a bucket."""

    least: int = 0
    """Nothing is taken if so many are not there."""
    most: int = 0
    settle: int = 0
    """What was used beyond what was taken before, charged in any case; negative: what is given back."""


class Drawn(NamedTuple):
    """What came of it."""

    state: RateState
    taken: int
    allowed: bool
    """Whether at least the least was there."""
    remaining: int
    reset_s: float
    """In how long the bucket is full again, if nobody takes any more."""


def draw(limit: int, state: RateState, now_ms: int, want: Draw) -> Drawn:
    """Take from a bucket what is there, between the least and the most that is wanted."""
    state = settled(paid_back(limit, state, now_ms), want.settle)
    there = _there(limit, state)
    allowed = there >= want.least
    taken = min(want.most, there) if allowed else 0
    after = settled(state, taken)
    return Drawn(after, taken, allowed, there - taken, after.debt / limit / 1000)


def remaining(limit: int, state: RateState, now_ms: int) -> int:
    """How many could be taken now."""
    return _there(limit, paid_back(limit, state, now_ms))


def reset_ms(limit: int, state: RateState, now_ms: int) -> int:
    """In how long all is there again, if nobody takes any more."""
    return -(-paid_back(limit, state, now_ms).debt // limit)


def wait_ms(limit: int, state: RateState, now_ms: int, cost: int) -> int | None:
    """In how long ``cost`` pieces are there; None: never, since the bucket does not hold so many."""
    if cost > limit:
        return None
    over = paid_back(limit, state, now_ms).debt + (cost - limit) * PARTS
    return max(0, -(-over // limit))


def heavier(limit: int, one: RateState, other: RateState, now_ms: int) -> RateState:
    """Of two accounts of the same bucket the one that owes more: what both have seen is counted once."""
    one, other = paid_back(limit, one, now_ms), paid_back(limit, other, now_ms)
    return one if one.debt >= other.debt else other


def given_back(unused: int, age_ms: int) -> int:
    """How many of ``unused`` pieces, taken ``age_ms`` ago, still count for something.

    Time has paid for the rest. Without this, whoever keeps many long answers open could have all of what they reserved
    back at once, over and above what time has given meanwhile.
    """
    return unused * max(0, MINUTE_MS - age_ms) // MINUTE_MS


def paid_back(limit: int, state: RateState, now_ms: int) -> RateState:
    """The same bucket at another time.

    Clocks may differ by up to a minute, and the one that is ahead counts. A state from further ahead comes of a clock
    that was set back: its debt stands, and is paid back from now on, not only when the clock has caught up.
    """
    passed_ms = now_ms - state.at_ms
    if passed_ms < -MINUTE_MS:
        return RateState(state.debt, now_ms)
    if passed_ms <= 0:
        return state
    return RateState(max(0, state.debt - passed_ms * limit), now_ms)


def settled(state: RateState, by: int) -> RateState:
    """The same bucket when so many pieces more were taken; negative: fewer."""
    return RateState(max(0, state.debt + by * PARTS), state.at_ms)


def _there(limit: int, state: RateState) -> int:
    return max(0, (limit * PARTS - state.debt) // PARTS)
