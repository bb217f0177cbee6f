"""When a second node is asked for the first word too, which one, and how often that may be (ADR 18)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.scheduling.breaker import OPENS_AFTER
from gateway.scheduling.hedging import GUESSED_RATIO, LEAST_SAMPLES, Allowance, FirstWords, is_urgent
from gateway.scheduling.wish import Wish
from streams.devices.replica import Price
from streams.devices.roster import NodeView
from streams.events import CheckOf
from streams.tasks.placing import Rules
from tests.unit.scheduling.fleets import KEY, node, scheduler

URGENT = Wish(model="m", service_class="interactive", prompt_tokens=10, beside="first")
CHECK = CheckOf(account="a", task="t", node="n", engine="e")


# --- how long to wait --------------------------------------------------------------------------------------------


def test_where_too_few_first_words_were_measured_the_prediction_says_it():
    words = FirstWords(floor_s=0.1)
    for _ in range(LEAST_SAMPLES - 1):
        words.note("n", "m", took_s=100.0, expected_s=1.0)
    assert words.patience("n", "m", expected_s=2.0) == (GUESSED_RATIO * 2.0, 0)


def test_the_95th_percentile_of_a_replica_is_taken_by_what_was_expected_of_each():
    words = FirstWords(floor_s=0.1)
    for number in range(1, 41):
        # A long prompt that took ten times as long as a short one, and was expected to, is no slower.
        expected_s = 10.0 if number % 2 else 1.0
        words.note("n", "m", took_s=expected_s * number / 20, expected_s=expected_s)
    assert words.patience("n", "m", expected_s=4.0) == (pytest.approx(4.0 * 38 / 20), 40)


def test_a_replica_that_is_new_is_waited_for_as_for_others_of_its_model():
    words = FirstWords(floor_s=0.1)
    for number in range(LEAST_SAMPLES):
        words.note(f"n{number}", "m", took_s=1.5, expected_s=1.0)
    assert words.patience("new", "m", expected_s=1.0) == (1.5, LEAST_SAMPLES)
    assert words.patience("new", "another", expected_s=1.0) == (GUESSED_RATIO, 0)


def test_however_fast_first_words_are_nobody_is_hedged_before_the_floor():
    words = FirstWords(floor_s=0.5)
    for _ in range(LEAST_SAMPLES):
        words.note("n", "m", took_s=0.01, expected_s=0.01)
    assert words.patience("n", "m", expected_s=0.01).after_s == 0.5


# --- how often ---------------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=400), st.sampled_from([0.0, 0.01, 0.05, 0.5, 1.0]))
def test_however_slow_the_mesh_no_more_than_the_share_is_hedged(acts: list[bool], share: float):
    allowance, attempts, hedges = Allowance(share), 0, 0
    for is_attempt in acts:
        if is_attempt:
            allowance.earn()
            attempts += 1
        else:
            hedges += allowance.spend()
        assert hedges <= 1 + share * attempts
    assert share or not hedges


def test_quiet_times_save_up_no_storm():
    allowance = Allowance(1.0)
    for _ in range(10_000):
        allowance.earn()
    assert sum(allowance.spend() for _ in range(100)) == 10


# --- for whom ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "own_policy", "asks"),
    [
        (URGENT, "edge-first", True),
        (replace(URGENT, service_class="standard"), "edge-first", False),
        (replace(URGENT, service_class="batch"), "edge-first", False),
        (replace(URGENT, service_class="standard"), "latency", True),
        (replace(URGENT, service_class="batch", rules=Rules(policy="latency")), "cost", True),
        (replace(URGENT, service_class="standard", rules=Rules(policy="cost")), "latency", False),
        (replace(URGENT, check=CHECK), "latency", False),
        (replace(URGENT, is_suspect=True), "latency", False),
        (replace(URGENT, has_text=True), "latency", False),
        (replace(URGENT, kind="embedding"), "latency", False),
    ],
)
def test_only_a_task_that_asks_for_haste_is_hedged_and_never_a_check_nor_one_that_kills_nodes(
    wish: Wish, own_policy: str, asks: bool
):
    assert is_urgent(wish, own_policy) is asks


@pytest.mark.parametrize(
    ("wish", "second", "why"),
    [
        (URGENT, node("first"), "it has the task already"),
        (URGENT, node("other", tier="cloud"), "a provider outside bills for what is not used"),
        (replace(URGENT, avoid=frozenset(["other"])), node("other"), "it has failed this task"),
        (replace(URGENT, rules=Rules(region="eu")), node("other", region="us"), "it is not in region eu"),
        (
            replace(URGENT, rules=Rules(highest_price_micro=5)),
            node("other", price=Price(prompt_micro=6, completion_micro=6)),
            "it costs too much",
        ),
        (replace(URGENT, account="a", rules=Rules(policy="private")), node("other"), "it is not the account's own"),
    ],
)
def test_a_second_node_is_another_one_that_costs_nobody_money_and_keeps_all_rules_of_the_task(
    wish: Wish, second: NodeView, why: str
):
    placement = scheduler(second).place(wish, now_s=1.0)
    assert placement.node is None
    assert [each.reason for each in placement.rejects] == [why]


def test_the_policy_is_named_as_ever():
    placement = scheduler(node("first"), node("other")).place(URGENT, now_s=1.0)
    assert (placement.node, placement.policy) == ("other", "edge-first.v1")


# --- what it says of the slower one ------------------------------------------------------------------------------


def test_a_node_that_was_outpaced_is_taken_for_slower_and_time_after_time_it_is_left_alone():
    mesh = scheduler(node("first"), node("other"))
    wish = replace(URGENT, beside="")
    before = mesh.place(wish, now_s=1.0).first_token_s
    mesh.outpaced("first", "m", expected_s=1.0, waited_s=4.0, now_s=1.0)
    seat = mesh.fleet.seat("first", "m")
    assert seat is not None
    assert seat.pace == pytest.approx(4.0**0.2)
    placement = mesh.place(wish, now_s=1.0)
    assert (placement.node, placement.first_token_s) == ("other", before)
    for _ in range(OPENS_AFTER - 1):
        mesh.outpaced("first", "m", expected_s=1.0, waited_s=4.0, now_s=1.0)
    assert "it failed time after time" in str(mesh.place(replace(wish, beside="other"), now_s=1.0).rejects)


def test_two_nodes_of_one_task_are_released_each_for_itself():
    mesh = scheduler(node("first", slots=1), node("other", slots=1))
    for name in ("first", "other"):
        mesh.take(name, "m", KEY, URGENT, now_s=1.0)
        mesh.sent(name, "m", KEY, now_s=1.0)
    assert mesh.release("other", "m", KEY, now_s=2.0) is not None
    assert mesh.place(replace(URGENT, beside=""), now_s=2.0).node == "other"
    stint = mesh.release("first", "m", KEY, now_s=3.0)
    assert stint is not None
    assert stint.order.seat.node == "first"
