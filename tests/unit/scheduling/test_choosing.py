"""The choice of a node: who is able, who is best, and what is recorded of all others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scheduling.baselines import BASELINES, RANDOM, ROUND_ROBIN
from gateway.scheduling.choosing import LOOK_AT_ALL
from gateway.scheduling.placement import Placement
from gateway.scheduling.policies import EDGE_FIRST
from gateway.scheduling.wish import Regard, Wish
from streams.devices.roster import NodeView
from streams.subjects import TaskKey
from streams.tasks.answer_check import CheckOf
from streams.tokens import Token
from tests.unit.scheduling.fleets import KEY, node, scheduler


def verdicts(placement: Placement) -> dict[str, str | None]:
    return {candidate.node: candidate.rejected for candidate in placement.candidates}


def counts(placement: Placement) -> dict[str, int]:
    return {each.reason: each.count for each in placement.rejects}


def test_the_node_that_would_be_done_first_is_chosen_and_every_other_is_explained():
    mesh = scheduler(
        node("slow", tokens_per_s=5),
        node("fast", tokens_per_s=20),
        node("gone", live=False),
        node("leaving", draining=True),
        in_use={"fast": 1},
    )

    placement = mesh.place(Wish(model="m", answer_tokens=30), now_s=1)

    assert (placement.node, placement.model, placement.policy) == ("fast", "m", EDGE_FIRST.label)
    assert verdicts(placement) == {"fast": None, "slow": None, "gone": "not reporting", "leaving": "draining"}
    scores = {candidate.node: candidate.score for candidate in placement.candidates if candidate.score is not None}
    # 30 tokens at 20 a second on three free slots of four, and at 5 a second.
    assert scores == {"fast": -2.0, "slow": -6.0}


def test_a_score_is_the_sum_of_its_parts_and_says_when_the_answer_is_expected():
    mesh = scheduler(node("n", prompt_tokens_per_s=100.0), regard_of=lambda _: Regard(reputation=0.5))

    (candidate,) = mesh.place(Wish(model="m", prompt_tokens=50, answer_tokens=10), now_s=1).candidates

    assert {part.name: part.value for part in candidate.parts} == {"prompt": -0.5, "answer": -1.0, "doubt": -1.5}
    assert (candidate.score, candidate.first_token_s, candidate.finish_s) == (-3.0, 0.6, 1.5)


def test_a_full_mesh_says_why():
    full = scheduler(node("a"), node("b", live=False), in_use={"a": 4}).place(Wish(model="m"), now_s=1)

    assert full.node is None
    assert full.reason == "2 node(s) serve this model: all slots busy, not reporting"
    assert scheduler().place(Wish(model="m"), now_s=1).reason == "no node serves this model"


def test_a_node_that_falls_silent_is_passed_over_until_it_is_heard_again():
    mesh = scheduler(node("a"))
    assert mesh.place(Wish(model="m"), now_s=12.5).node == "a"
    assert mesh.place(Wish(model="m"), now_s=12.6).node is None

    mesh.observe(node("a", heard_at_s=13.0))
    assert mesh.place(Wish(model="m"), now_s=13.1).node == "a"


def test_a_withdrawn_model_is_not_placed_and_a_new_announcement_counts():
    mesh = scheduler(node("a"), in_use={"a": 4})
    mesh.observe(node("a", slots=5))
    assert mesh.place(Wish(model="m"), now_s=1).node == "a"

    mesh.observe(node("a", replicas=()))
    assert mesh.place(Wish(model="m"), now_s=1).serving == 0


def test_a_slot_that_is_given_back_is_free_for_the_next():
    mesh = scheduler(node("a", slots=1))
    mesh.take("a", "m", KEY, Wish(model="m"), now_s=1)
    assert mesh.place(Wish(model="m"), now_s=1).node is None

    mesh.release("a", "m", KEY, now_s=2)
    assert mesh.place(Wish(model="m"), now_s=2).node == "a"


def test_a_suspect_shares_no_node_with_another_and_keeps_nobody_else_away():
    mesh = scheduler(node("fast", tokens_per_s=20), node("slow", tokens_per_s=5))
    suspect = Wish(model="m", is_suspect=True)

    assert mesh.place(suspect, now_s=1, suspected={"fast"}).node == "slow"
    assert mesh.place(Wish(model="m"), now_s=1, suspected={"fast"}).node == "fast"
    alone = mesh.place(suspect, now_s=1, suspected={"fast", "slow"})
    assert (alone.node, counts(alone)) == (None, {"another task that lost its nodes runs there": 2})


def test_an_answer_is_checked_by_another_node_with_the_same_engine():
    check = CheckOf(account="a", task="t", node="writer", engine="e", other="second")
    mesh = scheduler(node("writer"), node("second"), node("unlike", engine="other"), node("alike", tokens_per_s=0.1))

    placement = mesh.place(Wish(model="m", check=check), now_s=1)

    assert placement.node == "alike"
    assert counts(placement) == {"it wrote what is checked": 2, "it runs another engine or quantisation": 1}


def test_a_node_that_is_objected_to_is_passed_over_and_one_in_doubt_counts_for_less():
    regards = {"bad": Regard(objection="it lies"), "doubted": Regard(reputation=0.1), "good": Regard()}
    nodes = (node("bad", tokens_per_s=100), node("doubted", tokens_per_s=20), node("good", tokens_per_s=5))
    mesh = scheduler(*nodes, regard_of=lambda name: regards[name])

    placement = mesh.place(Wish(model="m"), now_s=1)

    assert (placement.node, verdicts(placement)["bad"]) == ("good", "it lies")


def test_engines_that_go_on_from_a_text_come_first_where_there_is_one():
    mesh = scheduler(node("anew", tokens_per_s=50, continues=False), node("on", tokens_per_s=10))

    assert mesh.place(Wish(model="m"), now_s=1).continues is False
    assert mesh.place(Wish(model="m", has_text=True), now_s=1).node == "on"


def test_a_node_that_refused_comes_last_but_is_not_lost_for_the_task():
    wish = Wish(model="m", avoid=frozenset({"fast"}))

    assert scheduler(node("fast", tokens_per_s=100), node("slow", tokens_per_s=0.01)).place(wish, now_s=1).node == (
        "slow"
    )
    assert scheduler(node("fast", tokens_per_s=100)).place(wish, now_s=1).node == "fast"


@st.composite
def fleets(draw: st.DrawFn) -> list[NodeView]:
    """Nodes of any speed and load; two may be a million times apart."""
    names = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1))
    speeds = st.none() | st.floats(min_value=1e-6, max_value=1e6)
    return [
        node(name, slots=draw(st.integers(1, 64)), tokens_per_s=draw(speeds), live=draw(st.booleans()))
        for name in names
    ]


@given(
    fleets(),
    st.sets(st.sampled_from("abcdefgh")),
    st.booleans(),
    st.sampled_from([EDGE_FIRST, *BASELINES.values()]),
    st.data(),
)
def test_whatever_their_speed_a_node_that_failed_the_task_is_never_before_one_that_did_not(
    nodes: list[NodeView], avoid: set[str], has_text: bool, policy: object, data: st.DataObject
):
    in_use: dict[str, int] = {view.node: data.draw(st.integers(0, view.replicas[0].slots)) for view in nodes}
    able = {view.node for view in nodes if view.is_live and in_use[view.node] < view.replicas[0].slots}
    mesh = scheduler(*nodes, in_use=in_use, policy=policy)  # pyright: ignore[reportArgumentType] - hypothesis forgets the type

    placement = mesh.place(Wish(model="m", seed="t", avoid=frozenset(avoid), has_text=has_text), now_s=1)

    assert (placement.node is None) == (not able)
    if placement.node in avoid:
        assert able <= avoid
    else:
        assert placement.node is None or placement.node in able
    assert sum(counts(placement).values()) == len(nodes) - len(able)


# --- meshes of very many nodes -----------------------------------------------------------------------------------


MANY = 10 * LOOK_AT_ALL


def test_of_very_many_nodes_some_are_drawn_by_the_task_and_the_record_stays_small():
    mesh = scheduler(*(node(f"n{number}", tokens_per_s=10 + number % 7) for number in range(MANY)))

    chosen = {mesh.place(Wish(model="m", seed=str(task)), now_s=1).node for task in range(50)}
    placement = mesh.place(Wish(model="m", seed="7"), now_s=1)

    assert len(chosen) > 25
    assert placement == mesh.place(Wish(model="m", seed="7"), now_s=1)
    assert (placement.serving, len(placement.candidates)) == (MANY, 8)


def test_the_one_free_node_of_very_many_is_found_and_a_full_mesh_costs_no_search():
    mesh = scheduler(*(node(f"n{number}", slots=1) for number in range(MANY)), in_use={f"n{n}": 1 for n in range(MANY)})
    full = mesh.place(Wish(model="m", seed="1"), now_s=1)
    assert (full.node, counts(full)) == (None, {"all slots busy": MANY})

    mesh.release("n77", "m", TaskKey(Token("other"), Token("n770")), now_s=2)
    assert mesh.place(Wish(model="m", seed="1"), now_s=2).node == "n77"


def test_of_very_many_nodes_those_that_are_unfit_hide_none_that_is_fit():
    mesh = scheduler(*(node(f"n{number}", draining=number != 99) for number in range(MANY)))

    placement = mesh.place(Wish(model="m", seed="1"), now_s=1)

    assert (placement.node, counts(placement)) == ("n99", {"draining": MANY - 1})


# --- baselines ---------------------------------------------------------------------------------------------------


def test_round_robin_gives_everybody_a_turn():
    mesh = scheduler(node("a"), node("b", tokens_per_s=100), node("c"), policy=ROUND_ROBIN)
    given: list[str | None] = []
    for turn in range(6):
        placement = mesh.place(Wish(model="m"), now_s=turn + 1)
        given.append(placement.node)
        key = TaskKey(Token("a"), Token(f"{turn}"))
        mesh.take(placement.node or "", "m", key, Wish(model="m"), now_s=turn + 1)
        mesh.release(placement.node or "", "m", key, now_s=turn + 1)

    assert sorted(map(str, given[:3])) == ["a", "b", "c"]
    assert given[3:] == given[:3]


@pytest.mark.parametrize("task", ["1", "2"])
def test_a_random_choice_is_the_tasks_own(task: str):
    mesh = scheduler(*(node(name) for name in "abcdefgh"), policy=RANDOM)
    wish = Wish(model="m", seed=task)
    assert mesh.place(wish, now_s=1).node == mesh.place(wish, now_s=2).node
    assert len({mesh.place(Wish(model="m", seed=str(n)), now_s=1).node for n in range(64)}) == 8
