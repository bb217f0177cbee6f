"""Where models go, and how many replicas the demand asks for: both pure decisions."""

from collections.abc import Mapping
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.models.demand import Change, Demand, Pace, Sight
from gateway.models.placement import Order, needed_bytes, orders, unmet
from gateway.models.placer import sights_of
from gateway.models.regional_demand import RegionalDemand, Scale, Sights
from gateway.roster.backlog_feed import Totals
from streams.devices.replica import Replica
from streams.devices.roster import NodeView, Roster, Wish
from streams.events import ModelDesired, ModelScaled
from streams.messages import NodeStatus, ReplicaLoad
from streams.models.events import InRegion
from streams.models.orders import NodeRoom
from streams.models.store import StoredModel
from streams.tokens import Token

GB = 10**9
PACE = Pace(up=timedelta(seconds=5), down=timedelta(seconds=100), to_zero=timedelta(seconds=200))


def wish(
    model: str = "m",
    *,
    least: int = 1,
    most: int | None = None,
    scaled: int | None = None,
    regions: tuple[str, ...] = (),
    inside: Mapping[str, int] = {},
) -> Wish:
    file = StoredModel(name=model, sha256="0" * 64, size_bytes=GB)
    desired = ModelDesired(at_ms=1, file=file, replicas=least, most=most, regions=regions)
    kept = tuple(InRegion(region=region, replicas=count) for region, count in inside.items())
    return Wish(desired=desired, scaled=scaled, scaled_in=kept)


def node(
    name: str,
    *models: str,
    free: int | None = 4 * GB,
    disk: int = 20 * GB,
    takes: bool = True,
    placed: tuple[str, ...] = (),
    loading: tuple[str, ...] = (),
    busy: int = 0,
    is_live: bool = True,
    draining: bool = False,
    region: str | None = None,
) -> NodeView:
    room = NodeRoom(
        takes_models=takes, free_memory_bytes=free, disk_bytes=disk, placed=placed, loading=loading, region=region
    )
    loads = tuple(ReplicaLoad(model=model, slots=4, busy=busy) for model in models)
    return NodeView(
        node=Token(name),
        replicas=tuple(Replica(model=model, engine="e", context_tokens=8, slots=4, region=region) for model in models),
        status=NodeStatus(at_ms=1, interval_s=1, replicas=loads, room=room, draining=draining),
        is_live=is_live,
        is_registered=True,
        is_lost=False,
        heard_at_s=0,
    )


def load(name: str, model: str = "m") -> Order:
    return Order(node=Token(name), action="load", model=model)


def evict(name: str, model: str = "m") -> Order:
    return Order(node=Token(name), action="evict", model=model)


def test_a_model_goes_to_the_node_with_the_least_to_do_and_then_the_most_room() -> None:
    nodes = [node("a", "x", busy=2), node("b", free=3 * GB), node("c", free=9 * GB)]
    assert orders([wish(least=1)], nodes) == [load("c")]
    assert orders([wish(least=2)], nodes) == [load("c"), load("b")]
    assert orders([wish(least=9)], nodes) == [load("c"), load("b"), load("a")]


def test_nodes_that_cannot_or_will_not_hold_it_are_left_out() -> None:
    nodes = [
        node("full", free=needed_bytes(wish().desired.file) - 1),
        node("small", disk=GB - 1),
        node("own", takes=False),
        node("gone", is_live=False),
        node("leaving", draining=True),
        node("shunned"),
    ]
    assert orders([wish()], nodes, {(Token("shunned"), "m")}) == []
    assert orders([wish()], [*nodes, node("able", free=None)], {(Token("shunned"), "m")}) == [load("able")]


def test_what_is_being_loaded_counts_and_room_is_given_once() -> None:
    assert orders([wish()], [node("a", loading=("m",)), node("b")]) == []
    tight = [node("a", free=2 * GB)]
    assert orders([wish("m"), wish("n")], tight) == [load("a")]


def test_what_no_node_can_be_told_to_load_is_named() -> None:
    nodes = [node("a", "m"), node("b", free=3 * GB), node("own", takes=False), node("gone", "m", is_live=False)]
    told = orders([wish(least=4)], nodes)
    assert told == [load("b")]
    assert unmet([wish(least=4), wish("x", least=0)], nodes, told) == {"m": 2}


def test_surplus_is_taken_from_nodes_that_were_told_to_and_do_the_least() -> None:
    nodes = [node("own", "m"), node("busy", "m", placed=("m",), busy=3), node("idle", "m", placed=("m",))]
    assert orders([wish(least=2)], nodes) == [evict("idle")]
    assert orders([wish(least=0)], nodes) == [evict("idle"), evict("busy")]
    assert orders([wish(least=0)], [node("own", "m")]) == []
    assert orders([wish(least=0)], [node("late", loading=("m",))]) == [evict("late")]


@given(
    least=st.integers(0, 5),
    nodes=st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 4 * GB)), max_size=6),
)
def test_orders_lead_to_what_is_wanted_or_as_near_as_can_be(least: int, nodes: list[tuple[bool, bool, int]]) -> None:
    views = [
        node(f"n{number}", *(("m",) if has else ()), placed=("m",) if has and placed else (), free=free)
        for number, (has, placed, free) in enumerate(nodes)
    ]
    told = orders([wish(least=least)], views)
    holders = sum(has for has, _, _ in nodes)
    movable = sum(has and placed for has, placed, _ in nodes)
    able = sum(not has and free >= needed_bytes(wish().desired.file) for has, _, free in nodes)
    expected = min(least - holders, able) if least >= holders else -min(holders - least, movable)
    assert len({order.node for order in told}) == len(told)
    assert {order.action for order in told} <= {"load" if expected > 0 else "evict"}
    assert len(told) == abs(expected)


def test_a_model_goes_only_where_it_may_be_and_what_was_placed_elsewhere_before_goes() -> None:
    nodes = [node("us", region="us"), node("eu", free=3 * GB, region="eu"), node("nowhere", free=9 * GB)]
    assert orders([wish(regions=("eu",))], nodes) == [load("eu")]
    assert orders([wish(least=3, regions=("eu", "us"))], nodes) == [load("us"), load("eu")]
    assert unmet([wish(least=3, regions=("eu", "us"))], nodes, [load("us"), load("eu")]) == {"m": 1}

    strays = [node("us", "m", placed=("m",), region="us"), node("late", loading=("m",)), node("own", "m", region="us")]
    assert orders([wish(regions=("eu",))], [*strays, node("eu", region="eu")]) == [
        load("eu"),
        evict("us"),
        evict("late"),
    ]
    assert unmet([wish(regions=("eu",))], strays, []) == {"m": 1}, "what is elsewhere is none"


def test_replicas_that_are_kept_in_a_region_are_brought_there_and_go_last() -> None:
    asked = wish(least=0, most=2, scaled=2, inside={"eu": 1})
    us, eu = node("us", free=9 * GB, region="us"), node("eu", region="eu")
    assert orders([asked], [us, eu]) == [load("eu"), load("us")]
    assert orders([asked], [us]) == [load("us")], "the place of the other one is kept free"
    assert unmet([asked], [us], [load("us")]) == {"m": 1}
    placed = ("m",)
    busy, idle = node("a", "m", placed=placed, busy=3, region="us"), node("eu", "m", placed=placed, region="eu")
    one = wish(least=0, most=1, scaled=1, inside={"eu": 1})
    assert orders([one], [busy, eu]) == [load("eu")], "first it is brought"
    assert orders([one], [busy, idle]) == [evict("a")], "then the other one goes, although it does more"


# --- demand ------------------------------------------------------------------------------------------------------


def sight(replicas: int, *, busy: int = 0, waiting: int = 0) -> Sight:
    return Sight(replicas=replicas, slots=4 * replicas, busy=busy, waiting=waiting)


def test_the_first_task_brings_a_model_at_once() -> None:
    demand = Demand(PACE, 0)
    assert demand.look(wish(least=0, most=3), sight(0), 1) is None
    change = demand.look(wish(least=0, most=3), sight(0, waiting=1), 2)
    assert change == Change(replicas=1, reason="a task waits")
    # While it comes, more tasks ask for no more.
    assert demand.look(wish(least=0, most=3, scaled=1), sight(0, waiting=50), 100) is None


def test_a_queue_must_last_before_more_replicas_are_wanted() -> None:
    demand, asked = Demand(PACE, 0), wish(least=1, most=9)
    assert demand.look(asked, sight(1, busy=4, waiting=9), 10) is None
    assert demand.look(asked, sight(1, busy=3, waiting=0), 13) is None
    assert demand.look(asked, sight(1, busy=4, waiting=9), 14) is None
    assert demand.look(asked, sight(1, busy=4, waiting=9), 18.9) is None
    change = demand.look(asked, sight(1, busy=4, waiting=9), 19)
    assert change is not None
    assert change.replicas == 4  # nine tasks, four on each
    assert demand.look(wish(least=1, most=2, scaled=2), sight(2, busy=8, waiting=99), 99) is None


def test_a_replica_goes_when_the_others_were_enough_for_long() -> None:
    demand, asked = Demand(PACE, 0), wish(least=1, most=9, scaled=3)
    assert demand.look(asked, sight(3, busy=5), 1) is None
    assert demand.look(asked, sight(3, busy=7), 50) is None  # two would be too full
    assert demand.look(asked, sight(3, busy=5), 60) is None
    assert demand.look(asked, sight(3, busy=5), 159) is None
    change = demand.look(asked, sight(3, busy=5), 160)
    assert change is not None
    assert change.replicas == 2
    assert demand.look(wish(least=2, most=9, scaled=2), sight(2), 999) is None


def test_the_last_replica_goes_when_nobody_has_asked_for_long() -> None:
    demand, asked = Demand(PACE, 0), wish(least=0, most=1, scaled=1)
    assert demand.look(asked, sight(1, busy=1), 150) is None
    assert demand.look(asked, sight(1), 349) is None
    change = demand.look(asked, sight(1), 350)
    assert change == Change(replicas=0, reason="nobody asked for 200 s")


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9), st.integers(1, 60)), max_size=40))
def test_the_number_stays_within_its_bounds_and_never_goes_up_and_down_within_a_pace(
    steps: list[tuple[int, int, int]],
) -> None:
    demand, scaled, now_s = Demand(PACE, 0), 1, 0
    fell_at_s = None
    for busy, waiting, wait_s in steps:
        now_s += wait_s
        asked = wish(least=0, most=3, scaled=scaled)
        change = demand.look(asked, sight(scaled, busy=min(busy, 4 * scaled), waiting=waiting), now_s)
        if change is None:
            continue
        assert 0 <= change.replicas <= 3
        assert change.replicas != scaled
        if change.replicas < scaled:
            assert fell_at_s is None or now_s - fell_at_s >= 100
            fell_at_s = now_s
        scaled = change.replicas


def test_tasks_that_must_not_leave_a_region_bring_a_model_there_at_once_whatever_is_free_elsewhere() -> None:
    demand, asked = RegionalDemand(PACE, 0), wish(least=0, most=2, scaled=1)
    sights = Sights(anywhere=sight(1), inside={"eu": sight(0, waiting=2), "us": sight(1)})
    scale = demand.look(asked, sights, 1)
    assert scale == Scale(replicas=2, regions=(InRegion(region="eu", replicas=1),), reason="in region eu: 2 tasks wait")
    # It comes, and is enough: no further one is wanted.
    asked = wish(least=0, most=2, scaled=2, inside={"eu": 1})
    assert demand.look(asked, sights, 50) is None
    assert demand.look(asked, Sights(anywhere=sight(2), inside={"eu": sight(1, busy=4)}), 51) is None


def test_what_is_kept_in_a_region_is_given_up_when_nobody_asks_there_and_the_number_follows() -> None:
    demand, asked = RegionalDemand(PACE, 0), wish(least=1, most=3, scaled=2, inside={"eu": 1})
    busy_elsewhere = Sights(anywhere=sight(2, busy=5), inside={"eu": sight(1), "us": sight(1, busy=4)})
    assert demand.look(asked, busy_elsewhere, 0) is None
    assert demand.look(asked, busy_elsewhere, 199) is None
    scale = demand.look(asked, busy_elsewhere, 200)
    assert scale == Scale(replicas=2, regions=(), reason="in region eu: nobody asked for 200 s")


def test_demand_leads_to_no_region_where_the_model_may_not_be_and_to_no_more_than_is_allowed() -> None:
    waiting = Sights(anywhere=sight(0), inside={"us": sight(0, waiting=9)})
    assert RegionalDemand(PACE, 0).look(wish(least=0, most=2, regions=("eu",)), waiting, 1) is None
    full = wish(least=0, most=1, scaled=1, inside={"eu": 1})
    both = Sights(anywhere=sight(1), inside={"us": sight(0, waiting=9), "eu": sight(1, busy=1)})
    assert RegionalDemand(PACE, 0).look(full, both, 1) is None
    # One that serves others may be moved to where it is asked for.
    moved = RegionalDemand(PACE, 0).look(wish(least=0, most=1, scaled=1), waiting, 1)
    assert moved is not None
    assert (moved.replicas, moved.regions) == (1, (InRegion(region="us", replicas=1),))


def test_who_must_not_leave_a_region_is_demand_there_if_a_node_of_it_is_heard() -> None:
    nodes = [node("us", "m", busy=2, region="us"), node("eu", region="eu"), node("x", region="x", is_live=False)]
    totals = Totals(
        waiting_in={("m", "batch"): 5, ("m", "standard"): 4, ("n", "batch"): 9},
        waiting_inside={("m", "eu"): 3, ("m", "x"): 2, ("n", "eu"): 9},
    )
    assert sights_of("m", nodes, totals) == Sights(
        anywhere=Sight(replicas=1, slots=4, busy=2, waiting=4),
        inside={
            "us": Sight(replicas=1, slots=4, busy=2, waiting=0),
            "eu": Sight(replicas=0, slots=0, busy=0, waiting=3),
        },
    )


# --- as a fold ---------------------------------------------------------------------------------------------------


def test_what_is_wanted_is_the_last_decision_and_what_demand_made_of_it_since() -> None:
    roster, mesh = Roster(), Token("mesh")
    file = StoredModel(name="m", sha256="0" * 64, size_bytes=1)
    assert not roster.knows("m")
    roster.apply_model(mesh, ModelDesired(at_ms=1, file=file, replicas=0, most=3))
    assert roster.knows("m")
    kept = (InRegion(region="eu", replicas=1), InRegion(region="us", replicas=4))
    roster.apply_model(mesh, ModelScaled(at_ms=2, model="m", replicas=2, reason="", regions=kept))
    assert [(wish.wanted, wish.wanted_in) for wish in roster.wishes()] == [(2, {"eu": 1, "us": 1})]
    again = Roster()
    again.load_models(roster.dump_models())
    assert again.wishes() == roster.wishes()
    roster.apply_model(mesh, ModelDesired(at_ms=3, file=file, replicas=1, most=1))
    assert [wish.wanted for wish in roster.wishes()] == [1]
    roster.apply_model(mesh, ModelDesired(at_ms=4, file=file, replicas=0))
    assert roster.could_bring("m") is None
    assert roster.nodes(now_s=0) == ()
