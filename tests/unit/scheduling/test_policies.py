"""What filters pass over, what scores say, and what each policy makes of them."""

import pytest

from gateway.scheduling.policies import EDGE_FIRST, IG3, POLICIES
from gateway.scheduling.wish import Regard, Wish
from streams.devices.hints import DeviceHints
from streams.devices.replica import Price
from streams.devices.roster import NodeView
from streams.tasks.placing import Candidate, Rules
from tests.unit.scheduling.fleets import node, scheduler

CENT_A_MILLION = Price(prompt_micro=10_000, completion_micro=10_000)
DEAR = Price(prompt_micro=20_000_000, completion_micro=20_000_000)


def rejected(wish: Wish, view: NodeView, *, regard: Regard | None = None, policy: str = "edge-first") -> str | None:
    mesh = scheduler(view, policy=POLICIES[policy], regard_of=lambda _: regard or Regard())
    return mesh.place(wish, now_s=1).candidates[0].rejected


def candidates(wish: Wish, *nodes: NodeView, policy: str = "edge-first") -> dict[str, Candidate]:
    placed = scheduler(*nodes, policy=POLICIES[policy]).place(wish, now_s=1)
    return {candidate.node: candidate for candidate in placed.candidates}


def part(candidate: Candidate, name: str) -> float:
    return next((each.value for each in candidate.parts if each.name == name), 0.0)


@pytest.mark.parametrize(
    ("wish", "view", "reason"),
    [
        (Wish(model="m", kind="embedding"), node("n"), "it serves chat, not embedding"),
        (Wish(model="m", needs=frozenset({"tools", "vision"})), node("n", abilities=("vision",)), "it lacks tools"),
        (Wish(model="m", needs=frozenset({"raw_prompt"})), node("n"), "it lacks raw_prompt"),
        (Wish(model="m", rules=Rules(region="eu")), node("n"), "it is not in region eu"),
        (Wish(model="m", rules=Rules(region="eu")), node("n", region="us"), "it is not in region eu"),
        (Wish(model="m", rules=Rules(highest_price_micro=9_999)), node("n", price=CENT_A_MILLION), "it costs too much"),
        (Wish(model="m", service_class="batch"), node("n", tier="cloud"), "the cloud is not for batch"),
    ],
)
def test_a_node_that_cannot_have_the_task_is_passed_over(wish: Wish, view: NodeView, reason: str):
    assert rejected(wish, view) == reason


@pytest.mark.parametrize(
    ("wish", "view"),
    [
        (Wish(model="m", kind="embedding"), node("n", kind="embedding")),
        (Wish(model="m", needs=frozenset({"tools"})), node("n", abilities=("tools", "schema"))),
        (Wish(model="m", rules=Rules(region="eu")), node("n", region="eu")),
        (Wish(model="m", rules=Rules(highest_price_micro=10_000)), node("n", price=CENT_A_MILLION)),
        (Wish(model="m", rules=Rules(highest_price_micro=0)), node("n")),
        (Wish(model="m", service_class="batch", level="hard"), node("n", tier="cloud")),
        (Wish(model="m", service_class="standard"), node("n", tier="cloud")),
    ],
)
def test_a_node_that_can_have_the_task_is_not(wish: Wish, view: NodeView):
    assert rejected(wish, view) is None


def test_a_reputation_below_what_is_asked_for_is_passed_over():
    wish = Wish(model="m", rules=Rules(lowest_reputation=0.9))
    assert rejected(wish, node("n"), regard=Regard(reputation=0.89)) == "its reputation is too low"
    assert rejected(wish, node("n"), regard=Regard(reputation=0.9)) is None


def test_a_long_prompt_goes_where_there_is_room_and_where_nobody_has_more_the_engine_says_it():
    wish = Wish(model="m", prompt_tokens=150, most_answer_tokens=20)
    short, long = node("short", context_tokens=100), node("long", context_tokens=200, tokens_per_s=0.1)

    placed = scheduler(short, long).place(wish, now_s=1)
    assert placed.node == "long"
    assert [each.reason for each in placed.rejects] == ["its context of 100 tokens is too short"]
    assert scheduler(short).place(wish, now_s=1).node == "short"
    # One that is not there has no room to give.
    assert scheduler(short, node("long", live=False, context_tokens=200)).place(wish, now_s=1).node == "short"


# --- private -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [None, "other", ""])
def test_a_private_task_runs_on_no_device_that_is_not_known_to_be_the_accounts_own(owner: str | None):
    wish = Wish(model="m", account="lab", rules=Rules(policy="private"))
    assert rejected(wish, node("n"), regard=Regard(owner=owner)) == "it is not the account's own"


def test_a_private_task_runs_on_the_accounts_own_devices_but_not_through_them_at_a_provider():
    wish = Wish(model="m", account="lab", rules=Rules(policy="private"))
    assert rejected(wish, node("n"), regard=Regard(owner="lab")) is None
    assert rejected(wish, node("n", tier="cloud"), regard=Regard(owner="lab")) == "it asks a provider outside"


def test_a_task_without_an_account_is_nobodys_own():
    wish = Wish(model="m", rules=Rules(policy="private"))
    assert rejected(wish, node("n"), regard=Regard(owner="")) == "it is not the account's own"


def test_a_policy_that_this_version_does_not_know_is_taken_for_the_strictest():
    wish = Wish(model="m", account="lab", rules=Rules(policy="of-the-future"))
    placed = scheduler(node("n")).place(wish, now_s=1)
    assert (placed.node, placed.policy) == (None, "private.v1")


# --- edge and cloud ----------------------------------------------------------------------------------------------


CLOUD = node("cloud", tier="cloud", tokens_per_s=1000, prompt_tokens_per_s=10_000, price=CENT_A_MILLION)
EDGE = node("edge", tokens_per_s=10, slots=1)


@pytest.mark.parametrize(
    ("policy", "wish", "chosen"),
    [
        ("edge-first", Wish(model="m"), "edge"),
        ("edge-first", Wish(model="m", level="simple", answer_tokens=20_000), "edge"),
        ("edge-first", Wish(model="m", level="hard"), "cloud"),
        ("edge-first", Wish(model="m", left_s=1.0), "cloud"),
        ("edge-first", Wish(model="m", left_s=30.0), "edge"),
        ("edge-first", Wish(model="m", service_class="batch", left_s=1.0), "edge"),
        ("latency", Wish(model="m"), "cloud"),
        ("latency", Wish(model="m", service_class="batch"), "cloud"),
        ("cost", Wish(model="m", answer_tokens=100), "cloud"),
    ],
)
def test_edge_or_cloud(policy: str, wish: Wish, chosen: str):
    assert scheduler(EDGE, CLOUD, policy=POLICIES[policy]).place(wish, now_s=1).node == chosen


def test_the_cloud_takes_what_the_edge_has_no_room_for_but_batch_waits():
    full = scheduler(EDGE, CLOUD, in_use={"edge": 1})
    assert full.place(Wish(model="m"), now_s=1).node == "cloud"
    assert full.place(Wish(model="m", service_class="batch"), now_s=1).node is None


def test_the_cheapest_is_chosen_for_cost_and_the_fastest_for_latency():
    nodes = (node("dear", tokens_per_s=1000, price=DEAR), node("cheap", tokens_per_s=2, price=CENT_A_MILLION))
    wish = Wish(model="m", prompt_tokens=1000, answer_tokens=100)
    assert scheduler(*nodes, policy=POLICIES["cost"]).place(wish, now_s=1).node == "cheap"
    assert scheduler(*nodes, policy=POLICIES["latency"]).place(wish, now_s=1).node == "dear"
    assert part(candidates(wish, *nodes, policy="cost")["dear"], "price") == -1100 * 20 / 1e6 * 60_000


def test_a_model_that_is_less_welcome_for_an_alias_must_be_so_much_faster():
    nodes = (node("a", model="small", tokens_per_s=20), node("b", model="large", tokens_per_s=10))
    wish = Wish(model="auto", models=("small", "large"), losses_s=(30.0, 0.0), answer_tokens=100)
    placed = scheduler(*nodes).place(wish, now_s=1)
    assert (placed.node, placed.model, placed.serving) == ("b", "large", 2)
    assert [candidate.model for candidate in placed.candidates] == ["large", "small"]

    fast = scheduler(node("a", model="small", tokens_per_s=1e6), nodes[1]).place(
        Wish(model="auto", models=("small", "large"), losses_s=(5.0, 0.0), answer_tokens=100), now_s=1
    )
    assert (fast.node, fast.model) == ("a", "small")


# --- devices -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hints", "times"),
    [
        (DeviceHints(), 0),
        (DeviceHints(battery_percent=5), 0),
        (DeviceHints(on_battery=True), 0.5),
        (DeviceHints(on_battery=True, battery_percent=80), 0.5),
        (DeviceHints(on_battery=True, battery_percent=19), 4),
        (DeviceHints(metered=True), 0.25),
        (DeviceHints(temperature_c=75.0), 0),
        (DeviceHints(temperature_c=85.0), 1.5),
        (DeviceHints(temperature_c=120.0), 3),
        (DeviceHints(on_battery=True, metered=True), 0.75),
    ],
)
def test_a_device_that_is_strained_counts_for_slower(hints: DeviceHints, times: float):
    told = candidates(Wish(model="m", answer_tokens=10), node("n", hints=hints))["n"]
    assert part(told, "power") == -times * 1.0


def test_a_strained_device_still_takes_what_nobody_else_can():
    flat = node("flat", hints=DeviceHints(on_battery=True, battery_percent=1))
    assert scheduler(flat, node("plugged", tokens_per_s=5)).place(Wish(model="m"), now_s=1).node == "plugged"
    assert scheduler(flat).place(Wish(model="m"), now_s=1).node == "flat"


# --- ig3 ---------------------------------------------------------------------------------------------------------


def shares(*nodes: NodeView, regards: dict[str, Regard], draws: int = 3000) -> dict[str, float]:
    mesh = scheduler(*nodes, policy=IG3, regard_of=lambda name: regards.get(name, Regard()))
    names = [mesh.place(Wish(model="m", seed=f"task {n}"), now_s=3600).node for n in range(draws)]
    return {str(name): names.count(name) / draws for name in set(names)}


def test_ig3_draws_at_odds_of_stake_uptime_and_latency():
    regards = {"a": Regard(stake=2), "b": Regard(stake=0)}
    alike = (node("a", heard_at_s=3600), node("b", heard_at_s=3600))
    assert shares(*alike, regards=regards)["a"] == pytest.approx(3 / 4, abs=0.05)

    faster = (node("a", heard_at_s=3600, tokens_per_s=30), node("b", heard_at_s=3600))
    assert shares(*faster, regards={})["a"] == pytest.approx(3 / 4, abs=0.05)


def test_ig3_draws_only_among_the_best_few_and_anybody_can_draw_again_from_the_record():
    nodes = [node(f"n{number:02}", heard_at_s=3600, tokens_per_s=10 + number) for number in range(20)]
    mesh = scheduler(*nodes, policy=IG3)
    for task in range(50):
        wish = Wish(model="m", seed=f"task {task}")
        placed = mesh.place(wish, now_s=3600)
        assert placed.node in {f"n{number:02}" for number in range(12, 20)}
        assert {candidate.node for candidate in placed.candidates} >= {placed.node}
        assert mesh.place(wish, now_s=3600).node == placed.node


def test_every_policy_has_a_name_of_its_own_and_labels_its_version():
    assert {policy.name for policy in POLICIES.values()} == {"edge-first", "latency", "cost", "private", "ig3"}
    assert EDGE_FIRST.label == "edge-first.v1"
