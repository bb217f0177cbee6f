"""One limit per minute: what is taken, paid back, given back, and how much at most in any span of time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.rate_headers import format_reset
from gateway.limits.bucket import (
    FULL,
    MINUTE_MS,
    PARTS,
    Draw,
    draw,
    given_back,
    heavier,
    paid_back,
    remaining,
    reset_ms,
    settled,
    wait_ms,
)
from gateway.limits.lease import Lease, lease_of
from gateway.limits.slots import hold
from streams.access.limits import MOST, RateState, StreamHolder

NOW_MS = 1_767_225_600_000
LIMITS = st.integers(1, 200) | st.integers(1, MOST)
SMALL = st.integers(1, 200)
STATES = st.builds(
    RateState, debt=st.integers(0, 10**15), at_ms=st.integers(NOW_MS - 2 * MINUTE_MS, NOW_MS + 2 * MINUTE_MS)
)
STEPS = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 30), st.integers(0, 30)), max_size=60)


def take(limit: int, state: RateState, now_ms: int, cost: int) -> tuple[RateState, bool]:
    drawn = draw(limit, state, now_ms, Draw(least=cost, most=cost))
    return drawn.state, drawn.allowed


def test_an_idle_bucket_gives_a_minutes_worth_at_once_and_then_as_much_as_time_does() -> None:
    state, allowed = FULL, []
    for _ in range(61):
        state, ok = take(60, state, NOW_MS, 1)
        allowed.append(ok)
    assert allowed == [True] * 60 + [False]
    assert take(60, state, NOW_MS + 999, 1)[1] is False
    state, ok = take(60, state, NOW_MS + 1000, 1)
    assert ok
    assert take(60, state, NOW_MS + 1000, 1)[1] is False
    assert remaining(60, state, NOW_MS + 31_000) == 30
    assert remaining(60, state, NOW_MS + 10 * MINUTE_MS) == 60


def test_what_is_left_and_when_all_is_there_again() -> None:
    drawn = draw(120, FULL, NOW_MS, Draw(least=20, most=20))
    assert (drawn.taken, drawn.allowed, drawn.remaining, drawn.reset_s) == (20, True, 100, 10.0)
    assert reset_ms(120, drawn.state, NOW_MS + 4000) == 6000
    assert reset_ms(120, drawn.state, NOW_MS + MINUTE_MS) == 0


def test_no_more_is_taken_than_is_there_and_nothing_where_the_least_is_not() -> None:
    half = settled(RateState(0, NOW_MS), 30)
    assert draw(60, half, NOW_MS, Draw(least=1, most=50)).taken == 30
    refused = draw(60, half, NOW_MS, Draw(least=31, most=50))
    assert (refused.taken, refused.allowed, refused.state) == (0, False, half)


def test_what_can_never_fit_has_no_time_to_come_back() -> None:
    assert wait_ms(10, FULL, NOW_MS, 11) is None
    assert wait_ms(10, FULL, NOW_MS, 10) == 0


@given(LIMITS, STATES, st.integers(1, 100))
def test_the_wait_is_neither_too_short_nor_too_long(limit: int, state: RateState, cost: int) -> None:
    state = paid_back(limit, state, NOW_MS)
    wait = wait_ms(limit, state, NOW_MS, cost)
    if wait is None:
        assert cost > limit
        return
    at_ms = max(NOW_MS, state.at_ms)
    assert take(limit, state, at_ms + wait, cost)[1]
    if wait > 0:
        assert not take(limit, state, at_ms + wait - 1, cost)[1]


@given(SMALL, STEPS)
def test_in_any_span_no_more_is_taken_than_a_full_bucket_and_what_time_gave(
    limit: int, steps: list[tuple[int, int, int]]
) -> None:
    state, now_ms, taken = FULL, NOW_MS, []
    for pause_ms, least, most in steps:
        now_ms += pause_ms
        drawn = draw(limit, state, now_ms, Draw(least=least, most=most))
        state = drawn.state
        taken.append((now_ms, drawn.taken))
        assert drawn.taken <= most
        assert drawn.remaining == remaining(limit, state, now_ms)
    for begin, (start_ms, _) in enumerate(taken):
        for end_ms, _ in taken[begin:]:
            within = sum(count for at_ms, count in taken[begin:] if at_ms <= end_ms)
            assert within * MINUTE_MS <= limit * (MINUTE_MS + end_ms - start_ms)


@given(SMALL, STEPS)
def test_nothing_that_time_gave_is_lost_by_rounding(limit: int, steps: list[tuple[int, int, int]]) -> None:
    """Looking often gives the same as looking once."""
    state = settled(RateState(0, NOW_MS), 10 * limit)
    now_ms, looked = NOW_MS, state
    for pause_ms, _, _ in steps:
        now_ms += pause_ms
        looked = paid_back(limit, looked, now_ms)
    assert looked == paid_back(limit, state, now_ms)


@given(LIMITS, STATES, STATES)
def test_of_two_accounts_the_one_that_owes_more_counts(limit: int, one: RateState, other: RateState) -> None:
    both = heavier(limit, one, other, NOW_MS)
    assert both == heavier(limit, both, other, NOW_MS)
    assert both.debt == max(paid_back(limit, one, NOW_MS).debt, paid_back(limit, other, NOW_MS).debt)


def test_a_clock_that_is_ahead_by_less_than_a_minute_counts_for_all() -> None:
    ahead = draw(60, FULL, NOW_MS + 20_000, Draw(least=60, most=60)).state
    assert remaining(60, ahead, NOW_MS) == 0
    assert remaining(60, ahead, NOW_MS + 20_000) == 0
    assert remaining(60, ahead, NOW_MS + 21_000) == 1


def test_a_clock_that_was_set_back_shuts_nobody_out_until_it_has_caught_up() -> None:
    an_hour_ahead = draw(60, FULL, NOW_MS + 3_600_000, Draw(least=60, most=60)).state
    state, ok = take(60, an_hour_ahead, NOW_MS, 1)
    assert not ok
    assert take(60, state, NOW_MS + 1000, 1)[1]


@given(st.integers(0, 10**6), st.integers(0, 2 * MINUTE_MS))
def test_what_is_given_back_late_counts_for_as_much_as_time_has_not_paid(unused: int, age_ms: int) -> None:
    back = given_back(unused, age_ms)
    assert 0 <= back <= unused
    assert given_back(unused, 0) == unused
    assert back == 0 or age_ms < MINUTE_MS
    assert back + unused * age_ms / MINUTE_MS <= unused or age_ms >= MINUTE_MS


def test_many_long_answers_that_end_at_once_give_no_second_minute() -> None:
    state, now_ms, tickets = FULL, NOW_MS, []
    for _ in range(10):
        state, ok = take(60, state, now_ms, 60)
        assert ok
        tickets.append(now_ms)
        now_ms += MINUTE_MS
    for taken_at_ms in tickets:
        state = settled(state, -given_back(60, now_ms - taken_at_ms))
    taken = draw(60, state, now_ms, Draw(most=1000)).taken
    assert taken == 60


@pytest.mark.parametrize(("limit", "size"), [(1, 1), (59, 1), (60, 1), (119, 1), (120, 2), (60_000, 1000)])
def test_a_gateway_takes_ahead_what_a_second_gives(limit: int, size: int) -> None:
    assert lease_of(limit) == size


def test_a_lease_shows_what_is_in_hand_as_remaining() -> None:
    lease = Lease(600)
    drawn = draw(600, FULL, NOW_MS, lease.draw(1))
    lease.drawn(drawn.taken, drawn.state, NOW_MS)
    assert (drawn.taken, lease.left, lease.remaining(NOW_MS)) == (10, 10, 600)
    lease.left -= 3
    assert (lease.remaining(NOW_MS), lease.reset_ms(NOW_MS)) == (597, 300)
    lease.settle(7)
    assert lease.remaining(NOW_MS) == 590
    lease.settle(-10)
    assert lease.remaining(NOW_MS) == 600
    assert lease.wait_ms(NOW_MS, 601) is None


def test_a_lease_that_is_not_used_goes_back_whole() -> None:
    lease = Lease(600)
    drawn = draw(600, FULL, NOW_MS, lease.draw(1))
    lease.drawn(drawn.taken, drawn.state, NOW_MS)
    lease.left -= 4
    assert lease.lay_down(NOW_MS + 999) is False
    assert lease.lay_down(NOW_MS + 1000) is True
    after = draw(600, drawn.state, NOW_MS + 1000, lease.draw(0)).state
    assert after.debt == 0
    assert draw(600, drawn.state, NOW_MS, Draw(settle=-6)).state.debt == 4 * PARTS


HOLDERS = st.lists(
    st.builds(
        StreamHolder,
        name=st.sampled_from("abcd"),
        streams=st.integers(0, 5),
        until_ms=st.integers(NOW_MS - 5, NOW_MS + 5),
    ),
    max_size=5,
    unique_by=lambda holder: holder.name,
).map(tuple)


@given(st.integers(1, 10), HOLDERS, st.integers(0, 3), st.integers(0, 12))
def test_together_no_more_streams_are_held_than_may_be(
    limit: int, holders: tuple[StreamHolder, ...], is_open: int, most: int
) -> None:
    held = hold(limit, holders, NOW_MS, StreamHolder("a", is_open, NOW_MS + 10), most=most)
    others = sum(each.streams for each in holders if each.name != "a" and each.until_ms > NOW_MS)
    assert held.others == others
    assert held.held == is_open or (held.held <= most and held.held + others <= limit)
    assert held.held >= is_open
    assert sum(each.streams for each in held.holders) == held.held + others


def test_what_a_dead_gateway_held_comes_free() -> None:
    dead = hold(2, (), NOW_MS, StreamHolder("dead", 2, NOW_MS + 10_000), most=2).holders
    assert hold(2, dead, NOW_MS + 9_999, StreamHolder("b", 0, NOW_MS), most=1).held == 0
    assert hold(2, dead, NOW_MS + 10_000, StreamHolder("b", 0, NOW_MS), most=1).held == 1


@pytest.mark.parametrize(
    ("reset_ms", "text"),
    [(0, "0s"), (1, "1ms"), (999, "999ms"), (1000, "1s"), (1001, "2s"), (59_001, "1m0s"), (360_000, "6m0s")],
)
def test_resets_are_written_as_openai_does(reset_ms: int, text: str) -> None:
    assert format_reset(reset_ms) == text
