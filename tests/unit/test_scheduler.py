"""Placing: the pure choice, the fair queue, and the roster that both look at."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.dispatcher.fair_queue import FairQueue
from gateway.dispatcher.scheduler import Regard, Wish, place
from streams.messages import NodeStatus
from streams.replica import Replica
from streams.roster import NodeView
from streams.tokens import Token


def node(
    name: str, *, slots: int = 4, speed: float | None = 10.0, live: bool = True, draining: bool = False
) -> NodeView:
    return NodeView(
        node=Token(name),
        replicas=(Replica(model="m", engine="e", context_tokens=100, slots=slots, tokens_per_s=speed),),
        status=NodeStatus(at_ms=1, interval_s=5, draining=draining),
        is_live=live,
        is_registered=True,
        is_lost=False,
        heard_at_s=0.0,
    )


def test_the_node_with_the_most_free_speed_is_chosen_and_every_other_is_explained():
    nodes = [node("slow", speed=5), node("fast", speed=20), node("gone", live=False), node("leaving", draining=True)]

    placement = place(Wish(model="m"), nodes, {"fast": 1})

    assert placement.node == "fast"
    assert {c.node: (c.score, c.rejected) for c in placement.candidates} == {
        "slow": (5.0, None),
        "fast": (15.0, None),
        "gone": (None, "not reporting"),
        "leaving": (None, "draining"),
    }


def test_a_full_mesh_says_why():
    placement = place(Wish(model="m"), [node("a"), node("b", live=False)], {"a": 4})

    assert placement.node is None
    assert placement.reason == "2 node(s) serve this model: all slots busy, not reporting"
    assert place(Wish(model="m"), [], {}).reason == "no node serves this model"


def test_a_node_of_little_reputation_counts_for_less_and_one_that_is_objected_to_for_nothing():
    nodes = [node("fast", speed=20), node("slow", speed=15)]
    doubted = {"fast": Regard(reputation=0.5)}

    placement = place(Wish(model="m"), nodes, {}, regards=doubted)

    assert placement.node == "slow"
    assert {c.node: c.score for c in placement.candidates} == {"fast": 10.0, "slow": 15.0}
    assert place(Wish(model="m"), nodes, {"slow": 4}, regards=doubted).node == "fast"
    refused = place(Wish(model="m"), nodes, {"slow": 4}, regards={"fast": Regard(objection="unfit")})
    assert (refused.node, refused.reason) == (None, "2 node(s) serve this model: all slots busy, unfit")


def test_a_suspect_shares_no_node_with_another_and_keeps_nobody_else_away():
    nodes = [node("fast", speed=20), node("slow", speed=5)]

    assert place(Wish(model="m", is_suspect=True), nodes, {}, suspected={"fast"}).node == "slow"
    assert place(Wish(model="m"), nodes, {}, suspected={"fast"}).node == "fast"
    alone = place(Wish(model="m", is_suspect=True), nodes, {}, suspected={"fast", "slow"})
    assert (alone.node, {candidate.rejected for candidate in alone.candidates}) == (
        None,
        {"another task that lost its nodes runs there"},
    )


def test_a_node_that_refused_comes_last_but_is_not_lost_for_the_task():
    wish = Wish(model="m", avoid=frozenset({"fast"}))

    assert place(wish, [node("fast", speed=100), node("slow", speed=0.01)], {}).node == "slow"
    assert place(wish, [node("fast", speed=100)], {}).node == "fast"


@st.composite
def fleets(draw: st.DrawFn) -> list[NodeView]:
    """Nodes of any speed and load; two may be a million times apart."""
    names = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1))
    speeds = st.none() | st.floats(min_value=1e-6, max_value=1e6)
    return [node(name, slots=draw(st.integers(1, 64)), speed=draw(speeds), live=draw(st.booleans())) for name in names]


@given(fleets(), st.sets(st.sampled_from("abcdefgh")), st.booleans(), st.data())
def test_whatever_their_speed_a_node_that_failed_the_task_is_never_before_one_that_did_not(
    nodes: list[NodeView], avoid: set[str], has_text: bool, data: st.DataObject
):
    in_use: dict[str, int] = {view.node: data.draw(st.integers(0, view.replicas[0].slots)) for view in nodes}
    able = {view.node for view in nodes if view.is_live and in_use[view.node] < view.replicas[0].slots}

    placement = place(Wish(model="m", avoid=frozenset(avoid), has_text=has_text), nodes, in_use)

    assert (placement.node is None) == (not able)
    if placement.node in avoid:
        assert able <= avoid
    else:
        assert placement.node is None or placement.node in able
    assert {candidate.node for candidate in placement.candidates if candidate.has_failed} == able & avoid


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


def test_an_item_that_is_withdrawn_is_never_served():
    queue: FairQueue[str] = FairQueue()
    queue.add("a", "one")
    queue.add("a", "two")
    queue.remove("a", "one")
    queue.remove("b", "unknown")

    assert [queue.take(), queue.take()] == ["two", None]
