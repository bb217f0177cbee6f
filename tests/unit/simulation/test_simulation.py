"""The simulator: every task ends once, the same seed gives the same, and it is the real scheduler that chooses."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from msgspec.structs import replace

from gateway.scheduling.scheduler import Scheduler
from gateway.simulation.device import Device, Order
from gateway.simulation.fleet import devices_of
from gateway.simulation.hedged_run import HedgedRun
from gateway.simulation.policies import COMPARED
from gateway.simulation.run import Run
from gateway.simulation.scenario import Bursts, Churn, Scenario
from gateway.simulation.scenarios import ALIKE, HOME, LAPTOP, SCENARIOS
from gateway.simulation.tally import Outcome, summarise
from gateway.simulation.trace import synthetic
from streams.devices.replica import Replica
from streams.subjects import TaskKey
from streams.tokens import Token

SMALL = replace(HOME, nodes=4, demand=replace(HOME.demand, conversations=12, system_chars=1000))
STORMY = replace(
    SMALL,
    churn=Churn(up_s=20, down_s=6),
    patience_s=10,
    mix=tuple(replace(kind, fails=0.2) for kind in SMALL.mix),
    demand=replace(SMALL.demand, per_s=1, bursts=Bursts(factor=5, on_s=2, off_s=5)),
)


def run_of(scenario: Scenario, policy: str = "edge-first") -> Run:
    return Run(scenario, COMPARED[policy], synthetic(scenario.demand, scenario.seed), devices_of(scenario))


def hedged_run_of(scenario: Scenario, policy: str = "edge-first", share: float = 1.0) -> HedgedRun:
    conversations = synthetic(scenario.demand, scenario.seed)
    return HedgedRun(scenario, COMPARED[policy], conversations, devices_of(scenario), share=share)


def keys_of(scenario: Scenario) -> set[TaskKey]:
    return {turn.key for each in synthetic(scenario.demand, scenario.seed) for turn in each.turns}


@pytest.mark.parametrize("policy", ["edge-first", "ig3", "round-robin", "random"])
@pytest.mark.parametrize("scenario", [SMALL, STORMY], ids=["calm", "stormy"])
def test_every_task_ends_once_whatever_becomes_of_nodes(scenario: Scenario, policy: str) -> None:
    run = run_of(scenario, policy)
    summary = run.finish()
    assert sorted(each.key for each in run.outcomes) == sorted(keys_of(scenario))
    assert summary.completed + summary.failed == summary.tasks == len(keys_of(scenario))


def stalling(scenario: Scenario) -> Scenario:
    mix = tuple(replace(kind, stalls=0.3, stalls_s=(5.0, 30.0)) for kind in scenario.mix)
    return replace(scenario, mix=mix, demand=replace(scenario.demand, answer_tokens=(1, 60)))


@pytest.mark.parametrize("policy", ["edge-first", "random"])
@pytest.mark.parametrize("scenario", [SMALL, STORMY], ids=["calm", "stormy"])
def test_a_hedged_task_ends_once_too_and_leaves_nothing_behind(scenario: Scenario, policy: str) -> None:
    run = hedged_run_of(stalling(scenario), policy)
    summary = run.finish()
    assert sorted(each.key for each in run.outcomes) == sorted(keys_of(stalling(scenario)))
    assert summary.hedges > 0
    assert not any(run._given.values()), "a slot that nobody has given back"
    assert not any(device.jobs for device in run._devices.values()), "work that nobody waits for"


def test_where_devices_stand_still_a_second_one_brings_the_first_word_sooner_within_its_share() -> None:
    scenario = stalling(replace(SMALL, nodes=12))
    alone, hedged = run_of(scenario).finish(), hedged_run_of(scenario).finish()
    assert alone.first_token_p99_s is not None
    assert hedged.first_token_p99_s is not None
    assert hedged.first_token_p99_s < alone.first_token_p99_s
    rare = hedged_run_of(scenario, share=0.05).finish()
    assert 0 < rare.hedges <= 1 + 0.05 * (rare.tasks + rare.attempts_lost)


def test_the_storm_of_the_tests_loses_attempts_and_tasks() -> None:
    summary = run_of(STORMY).finish()
    assert summary.attempts_lost > 0
    assert summary.failed > 0
    assert summary.completed > summary.failed


def test_a_seed_gives_the_same_outcomes_again_and_another_seed_others() -> None:
    one, again, other = run_of(STORMY), run_of(STORMY), run_of(replace(STORMY, seed=1))
    for run in (one, again, other):
        run.finish()
    assert one.outcomes == again.outcomes
    assert [each.finish_s for each in one.outcomes] != [each.finish_s for each in other.outcomes]


def test_it_is_the_real_scheduler_that_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt is placed, taken, sent and released by it; where it finds nobody, nobody answers."""
    placed: list[str] = []
    place = Scheduler.place

    def nowhere(self: Scheduler, wish: object, **said: object) -> object:
        found = place(self, wish, **said)  # pyright: ignore[reportArgumentType] - handed on as it came
        placed.append(found.node or "")
        return replace(found, node=None)

    monkeypatch.setattr(Scheduler, "place", nowhere)
    summary = run_of(replace(SMALL, patience_s=1)).finish()
    assert any(placed)
    assert summary.placements == len(placed)
    assert (summary.completed, summary.failed) == (0, len(keys_of(SMALL)))
    assert summary.first_token_p50_s is None


def test_the_scheduler_is_told_of_all_that_it_measures_nodes_by() -> None:
    run = run_of(SMALL)
    run.finish()
    seats = list(run.scheduler.fleet.seats("m").all.values())
    assert [seat.in_use for seat in seats] == [0] * 4
    assert any(seat.pace != 1.0 for seat in seats), "no speed was learnt"
    used = [(seat, device) for seat, device in zip(seats, devices_of(SMALL), strict=True) if seat.rtt_s]
    assert used
    for seat, device in used:
        assert seat.rtt_s == pytest.approx(device.rtt_s, rel=0.5), "the way was measured wrongly"
    assert len(run.scheduler.prefixes) > 0


def test_what_was_read_before_is_what_makes_the_difference_between_devices_that_are_alike() -> None:
    small = ALIKE.scaled(8)
    aware, blind = run_of(small).finish(), run_of(small, "no-prefix").finish()
    assert aware.cached_share > blind.cached_share
    assert aware.first_token_p50_s is not None
    assert blind.first_token_p50_s is not None
    assert aware.first_token_p50_s < blind.first_token_p50_s


def test_bursts_bring_more_at_a_time_and_no_other_tasks() -> None:
    calm = replace(SMALL.demand, conversations=200, per_s=1)
    bursty = replace(calm, bursts=Bursts(factor=10, on_s=5, off_s=5))
    times = [each.at_s for each in synthetic(bursty, 1)]
    assert times == sorted(times)
    assert len(times) == 200
    assert times[-1] < synthetic(calm, 1)[-1].at_s


def test_each_turn_begins_with_all_that_was_said_before() -> None:
    turns = next(each for each in synthetic(HOME.demand, HOME.seed)).turns
    assert len(turns) >= 3
    for earlier, later in pairwise(turns):
        assert later.wish.prefix[: len(earlier.wish.prefix)] == earlier.wish.prefix
        assert later.prompt_tokens > earlier.prompt_tokens


def test_scenarios_reach_from_ten_to_ten_thousand_nodes_each_with_a_seed_of_its_own() -> None:
    assert {min(each.nodes for each in SCENARIOS.values()), max(each.nodes for each in SCENARIOS.values())} == {
        10,
        10_000,
    }
    assert len({each.seed for each in SCENARIOS.values()}) == len(SCENARIOS)


# --- a device ----------------------------------------------------------------------------------------------------


def device(*, cache_tokens: int = 1024, crowding: float = 1.0) -> Device:
    kind = replace(LAPTOP, cache_tokens=cache_tokens, crowding=crowding)
    replica = Replica(model="m", engine="e", context_tokens=4096, slots=4, tokens_per_s=10.0, prompt_tokens_per_s=100.0)
    return Device("d", kind, (replica,), rtt_s=0.0, truth=1.0)


def order(name: str, *, prefix: tuple[bytes, ...] = (), breaks_at: float | None = None) -> Order:
    key = TaskKey(Token("a"), Token(name))
    return Order(key, 1, "m", prefix, prompt_tokens=100, answer_tokens=11, breaks_at=breaks_at)


def stages(one: Device) -> Iterator[tuple[float, str, str]]:
    """All marks until nothing is left, as the loop meets them."""
    while (mark := one.next_mark()) is not None:
        at_s, key, stage = mark
        one.advance(at_s)
        if stage == "read":
            one.has_read(key)
        else:
            one.drop(key)
        yield round(at_s, 6), key.task, stage


def test_a_request_alone_reads_and_writes_at_the_speeds_of_its_device() -> None:
    one = device()
    one.begin(order("1"), 5.0)
    assert list(stages(one)) == [(6.1, "1", "read"), (7.1, "1", "written")]


def test_two_at_once_take_longer_by_the_crowding_and_the_one_left_gets_on_alone() -> None:
    one = device(crowding=1.0)
    one.begin(order("1"), 0.0)
    one.begin(order("2"), 1.1)
    # One second is left of the first, and takes two; of the second 1.1 s are left then.
    assert list(stages(one)) == [(1.1, "1", "read"), (3.1, "1", "written"), (3.2, "2", "read"), (4.2, "2", "written")]


def test_what_was_read_is_not_read_again_until_newer_things_push_it_out() -> None:
    blocks = tuple(bytes([number]) for number in range(4))
    one = device(cache_tokens=128)
    one.begin(order("1", prefix=blocks[:1]), 0.0)
    list(stages(one))
    assert one.begin(order("2", prefix=blocks[:1]), 10.0).cached_tokens == 64
    list(stages(one))
    one.begin(order("3", prefix=blocks[2:]), 20.0)
    list(stages(one))
    assert one.begin(order("4", prefix=blocks[:1]), 30.0).cached_tokens == 0


def test_an_attempt_breaks_off_where_it_was_drawn_to() -> None:
    one = device()
    job = one.begin(order("1", breaks_at=0.75), 0.0)
    assert list(stages(one)) == [(1.1, "1", "read"), (1.575, "1", "broken")]
    assert 1 <= job._replace(has_read=True).tokens_written(one.done) < 11


def test_a_device_that_stops_forgets_its_work_and_what_it_has_read() -> None:
    one = device()
    one.begin(order("1", prefix=(b"x",)), 0.0)
    one.advance(1.2)
    one.has_read(TaskKey(Token("a"), Token("1")))
    one.stop(1.3)
    one.start(2.0)
    assert one.next_mark() is None
    assert one.begin(order("2", prefix=(b"x",)), 3.0).cached_tokens == 0


# --- what is counted ---------------------------------------------------------------------------------------------


def outcome(number: int, first_token_s: float | None, *, cost: float = 0.0) -> Outcome:
    return Outcome(
        key=TaskKey(Token("a"), Token(str(number))),
        is_completed=first_token_s is not None,
        first_token_s=first_token_s,
        finish_s=100.0,
        attempts=1,
        prompt_tokens=100,
        cached_tokens=25,
        is_at_edge=number % 2 == 0,
        cost=cost,
    )


def test_tasks_that_fail_count_as_infinitely_late() -> None:
    outcomes = [*(outcome(number, float(number)) for number in range(1, 99)), outcome(99, None), outcome(100, None)]
    summary = summarise(outcomes, scenario="s", policy="p", nodes=1, placements=100)
    assert (summary.first_token_p50_s, summary.first_token_p99_s) == (50.0, None)
    assert (summary.completed, summary.failed, summary.edge_share, summary.cached_share) == (98, 2, 0.5, 0.25)


def test_a_provider_is_paid_for_what_it_reads_and_writes() -> None:
    cloud = replace(HOME.mix[0], tier="cloud", share=1, prompt_micro=1_000_000, completion_micro=2_000_000, fails=0)
    run = run_of(replace(SMALL, mix=(cloud,)), "latency")
    summary = run.finish()
    turns = {turn.key: turn for each in synthetic(SMALL.demand, SMALL.seed) for turn in each.turns}
    assert summary.edge_share == 0
    for each in run.outcomes:
        expected = each.prompt_tokens * 1e-6 + turns[each.key].answer_tokens * 2e-6
        assert each.cost == pytest.approx(expected)
