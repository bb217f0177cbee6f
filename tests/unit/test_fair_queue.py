"""The fair queue that tasks wait in for a node."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.dispatcher.fair_queue import FairQueue


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99)), unique=True))
def test_the_queue_keeps_each_accounts_order_and_lets_nobody_wait_for_a_crowd(items: list[tuple[str, int]]):
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for item in items:
        queue.add(item[0], item)

    served: list[tuple[str, int]] = []
    while (item := queue.take()) is not None:
        served.append(item)

    for account in "abc":
        own = [item for item in served if item[0] == account]
        assert own == [item for item in items if item[0] == account]
        others_first = [
            sum(1 for other in served[: served.index(item)] if other[0] == rival) for rival in "abc" for item in own[:1]
        ]
        assert all(count <= 1 for count in others_first)
    assert len(queue) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99)), unique=True, min_size=1), st.data())
def test_the_position_is_how_many_are_served_before(items: list[tuple[str, int]], data: st.DataObject):
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for item in items:
        queue.add(item[0], item)
    asked = data.draw(st.sampled_from(items))

    position = queue.position(asked[0], asked)

    assert [queue.take() for _ in range(position + 1)][-1] == asked


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99)), unique=True), st.data())
def test_the_order_that_is_shown_is_the_order_of_serving_and_one_may_be_let_by(
    items: list[tuple[str, int]], data: st.DataObject
):
    queue, other = FairQueue[tuple[str, int]](), FairQueue[tuple[str, int]]()
    for item in items:
        queue.add(item[0], item)
        other.add(item[0], item)

    shown = [item for _, item in queue.in_order()]
    assert shown == [queue.take() for _ in items]
    if shown:
        served = data.draw(st.sampled_from(shown))
        other.serve(served[0], served)
        assert sorted(item for _, item in other.in_order()) == sorted(item for item in items if item != served)


def test_an_item_that_is_withdrawn_is_never_served():
    queue: FairQueue[str] = FairQueue()
    queue.add("a", "one")
    queue.add("a", "two")
    queue.remove("a", "one")
    queue.remove("b", "unknown")

    assert [queue.take(), queue.take()] == ["two", None]
