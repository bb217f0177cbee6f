"""What speaks for a node and against it: folds that fade, and a score between 0 and 1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.devices import reputation
from streams.devices.events import DeviceChecked, DeviceSuspended
from streams.devices.fold import Devices
from streams.devices.reputation import NOTHING, Tally, WorkDone, score
from streams.events import AttemptFailure, AttemptShare, EndEvent, TaskCompleted, TaskDead, TaskError
from streams.tasks.chat import Usage
from streams.tokens import Token
from tests.unit.event_strategies import structs

A, B = Token("a"), Token("b")
DAY_MS = 86_400_000
NOW_MS = 1_767_225_600_000


def completed(*nodes: str, codes: tuple[tuple[str, str], ...] = (), at_ms: int = NOW_MS) -> TaskCompleted:
    return TaskCompleted(
        at_ms=at_ms,
        model="m",
        final_n=3,
        finish_reason="stop",
        usage=Usage(prompt_tokens=1, completion_tokens=1),
        shares=tuple(AttemptShare(attempt=n, node=node, chars=1, tokens=1) for n, node in enumerate(nodes, 1)),
        failures=failures(codes),
    )


def failures(codes: tuple[tuple[str, str], ...]) -> tuple[AttemptFailure, ...]:
    return tuple(AttemptFailure(attempt=n, node=node, code=code, message="") for n, (node, code) in enumerate(codes, 1))


def work(*ends: EndEvent) -> WorkDone:
    done = WorkDone()
    for end in ends:
        done.apply(end)
    return done


def scored(done: WorkDone, node: Token, checks: Tally = NOTHING, now_ms: int = NOW_MS) -> float:
    return score(checks, done.of(node), now_ms=now_ms)


def checked(*, agreed: bool, undecided: bool = False, at_ms: int = NOW_MS) -> DeviceChecked:
    return DeviceChecked(at_ms=at_ms, node="a", task="t", other="b", agreed=agreed, undecided=undecided)


def test_nobody_knows_it_and_nothing_speaks_against_it() -> None:
    assert scored(work(), A) == 1.0
    assert scored(work(completed("a")), A) == 1.0


def test_who_completes_is_credited_and_who_failed_before_is_not() -> None:
    done = work(completed("a", "b", codes=(("a", "engine_error"),)))
    assert scored(done, A) < scored(done, B) == 1.0


@pytest.mark.parametrize("code", ["node_stopping", "node_draining", "node_busy", "cannot_continue"])
def test_leaving_in_good_order_or_being_busy_is_held_against_nobody(code: str) -> None:
    assert scored(work(completed("b", codes=(("a", code),))), A) == 1.0


def test_a_result_that_was_not_believed_weighs_more_than_a_lost_node() -> None:
    def after(code: str) -> float:
        return scored(work(completed("b", codes=(("a", code),))), A)

    assert after("invalid_result") < after("engine_error") < after("node_lost") < 1.0


def test_a_power_cut_in_the_middle_of_many_tasks_costs_a_node_little() -> None:
    cut = [completed("b", codes=(("a", "node_lost"),)) for _ in range(64)]
    assert scored(work(*cut), A) > 0.8


def test_a_task_that_died_counts_against_those_that_it_failed_on() -> None:
    end = TaskDead(
        at_ms=NOW_MS,
        model="m",
        final_n=1,
        error=TaskError(code="attempts_exhausted", message="", status=502),
        failures=failures((("a", "node_lost"), ("a", "node_lost"))),
    )
    assert scored(work(end), A) < scored(work(completed("b", codes=(("a", "node_lost"),))), A)


def test_no_amount_of_good_work_pays_for_going_on_to_lie() -> None:
    good = [completed("a") for _ in range(2000)]
    lies = [completed("b", codes=(("a", "invalid_result"),)) for _ in range(20)]
    assert scored(work(*good, *lies), A) < 0.55


def test_one_difference_costs_little_a_wrong_answer_more_and_a_proven_lie_the_most() -> None:
    undecided = reputation.checked(NOTHING, checked(agreed=False, undecided=True))
    wrong = reputation.checked(NOTHING, checked(agreed=False))
    caught = reputation.caught(NOTHING, NOW_MS)
    scores = [score(tally, NOTHING, now_ms=NOW_MS) for tally in (NOTHING, undecided, wrong, caught)]
    assert scores == sorted(scores, reverse=True)
    assert scores[1] > 0.9
    assert scores[3] < 0.4


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 100 * DAY_MS))
def test_what_is_long_ago_counts_less(good: float, bad: float, later_ms: int) -> None:
    tally = Tally(good=good, bad=bad, at_ms=NOW_MS)
    now, then = (score(tally, NOTHING, now_ms=NOW_MS + ms) for ms in (0, later_ms))
    assert 0 <= now <= 1
    assert 0 <= then <= 1
    faded = tally.plus(at_ms=NOW_MS + later_ms, half_life_ms=14 * DAY_MS)
    assert (faded.good, faded.bad) <= (good, bad)


def test_a_half_life_halves() -> None:
    tally = NOTHING.plus(at_ms=NOW_MS, half_life_ms=DAY_MS, bad=8.0)
    assert tally.plus(at_ms=NOW_MS + DAY_MS, half_life_ms=DAY_MS).bad == 4.0
    assert tally.plus(at_ms=NOW_MS - DAY_MS, half_life_ms=DAY_MS) == tally


def test_a_suspension_over_a_task_is_remembered_when_the_device_is_back_one_by_hand_is_not() -> None:
    def after(task: str | None) -> float:
        devices = Devices()
        devices.apply(A, DeviceSuspended(at_ms=NOW_MS, node="a", by="x", reason="y", task=task))
        device = devices.device(A)
        assert device is not None
        return score(device.checks, NOTHING, now_ms=NOW_MS)

    assert after("t") < 1.0
    assert after(None) == 1.0


def test_checks_are_folded_with_the_device() -> None:
    devices = Devices()
    devices.apply(A, checked(agreed=False))
    device = devices.device(A)
    assert device is not None
    assert device.checks == reputation.checked(NOTHING, checked(agreed=False))
    other = Devices()
    other.load(devices.dump())
    assert other.device(A) == device


@given(st.lists(structs(TaskCompleted) | structs(TaskDead), max_size=8), st.integers(0, 8))
def test_a_fold_that_goes_on_from_a_snapshot_equals_the_whole(ends: list[EndEvent], cut: int) -> None:
    resumed = WorkDone()
    resumed.load(work(*ends[:cut]).dump())
    for end in ends[cut:]:
        resumed.apply(end)
    assert resumed.dump() == work(*ends).dump()
