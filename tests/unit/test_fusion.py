"""Orders of the same things joined into one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.retrieval.fusion import Order, fuse

ORDERS = st.lists(st.lists(st.integers(0, 30), unique=True, max_size=12), min_size=1, max_size=4)


def test_what_both_orders_have_near_the_top_comes_before_the_first_of_one() -> None:
    fused = fuse([Order("abc"), Order("xby")])

    assert [thing for thing, _ in fused] == ["b", "a", "x", "c", "y"]


def test_the_first_of_all_orders_has_the_score_1_and_a_heavier_order_counts_more() -> None:
    assert fuse([Order("ab"), Order("a")])[0] == ("a", pytest.approx(1.0))
    assert [thing for thing, _ in fuse([Order("a", 1.0), Order("b", 2.0)])] == ["b", "a"]


def test_nothing_fused_is_nothing() -> None:
    assert fuse([]) == []
    assert fuse([Order("")]) == []
    assert fuse([Order("a", 0.0)]) == []


@given(ORDERS)
def test_everything_is_there_once_by_falling_score_within_0_and_1(orders: list[list[int]]) -> None:
    fused = fuse([Order(order) for order in orders])
    things, scores = [thing for thing, _ in fused], [score for _, score in fused]

    assert sorted(things) == sorted({thing for order in orders for thing in order})
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)


@given(st.lists(st.integers(), unique=True, max_size=30))
def test_an_order_by_itself_stays_as_it_is(order: list[int]) -> None:
    assert [thing for thing, _ in fuse([Order(order)])] == order
    assert [thing for thing, _ in fuse([Order(order), Order(order)])] == order
