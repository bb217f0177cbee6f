"""When a task is tried again, how the next attempt joins the text, and when it is enough."""

from itertools import pairwise

import pytest

from gateway.dispatcher import retrying
from gateway.dispatcher.settings import DispatcherSettings
from streams.events import AttemptFailure, Seam
from streams.tasks.task import TaskState

SETTINGS = DispatcherSettings(max_attempts=5, max_lost_nodes=3)


def failures(*codes: str) -> tuple[AttemptFailure, ...]:
    return tuple(
        AttemptFailure(attempt=attempt, node=f"n{attempt}", code=code, message=f"{code}!")
        for attempt, code in enumerate(codes, start=1)
    )


@pytest.mark.parametrize(
    "codes",
    [
        (),
        ("node_lost",) * 2,
        ("engine_error",) * 4,
        ("node_lost", "node_lost", "engine_error", "engine_error"),
        ("node_busy",) * 50,
        ("node_stopping", "node_draining", "cannot_continue") * 10,
    ],
)
def test_a_task_is_tried_again_while_its_failures_are_few_or_not_its_own(codes: tuple[str, ...]) -> None:
    assert retrying.exhausted(failures(*codes), SETTINGS) is None


@pytest.mark.parametrize(
    ("codes", "counted"),
    [
        (("node_lost",) * 3, 3),
        (("engine_error",) * 5, 5),
        (("node_lost", "engine_error", "node_stalled", "invalid_result", "node_lost"), 5),
        (("node_busy", "node_lost", "node_stopping", "node_lost", "node_busy", "node_lost"), 3),
    ],
)
def test_it_is_dead_when_it_has_cost_enough_and_says_of_what(codes: tuple[str, ...], counted: int) -> None:
    error = retrying.exhausted(failures(*codes), SETTINGS)
    assert error is not None
    assert (error.code, error.status) == ("attempts_exhausted", 502)
    assert error.message.startswith(f"{counted} attempt(s) came to nothing")
    assert f"{codes[-1]}!" in error.message


def test_pauses_double_spread_and_stay_bounded() -> None:
    def pause_s(count: int, chance: float) -> float:
        return retrying.pause_s(count, "node_lost", base_s=0.2, chance=chance)

    assert pause_s(1, 0.0) == pytest.approx(0.1)
    assert pause_s(1, 0.999) < 0.3
    middles = [pause_s(count, 0.5) for count in range(1, 6)]
    assert all(later == pytest.approx(2 * earlier) for earlier, later in pairwise(middles))
    assert pause_s(1000, 0.999) < 1.5 * retrying.LONGEST_PAUSE_S


@pytest.mark.parametrize("code", ["node_stopping", "node_draining", "cannot_continue"])
def test_what_was_handed_over_in_good_order_goes_on_at_once(code: str) -> None:
    assert retrying.pause_s(3, code, base_s=0.2, chance=0.9) == 0


@pytest.mark.parametrize(
    ("chars", "codes", "before", "continues", "expected"),
    [
        (0, ("node_lost",), None, True, None),
        (0, ("cannot_continue",), None, False, None),
        (7, ("node_lost",), None, True, "continued"),
        (7, ("node_lost",), None, False, "replayed"),
        (7, ("node_lost", "cannot_continue"), "continued", True, "replayed"),
        (7, ("node_lost", "cannot_continue"), "continued", False, "replayed"),
        (7, ("node_lost", "cannot_continue"), "replayed", True, "restarted"),
        (7, ("node_lost", "cannot_continue"), "replayed", False, "restarted"),
        (7, ("cannot_continue", "cannot_continue"), "replayed", True, "restarted"),
        (7, ("cannot_continue", "node_lost"), "replayed", True, "continued"),
        (7, ("cannot_continue", "node_lost"), "replayed", False, "replayed"),
        (7, ("cannot_continue", "node_lost"), "restarted", True, "continued"),
    ],
)
def test_how_an_attempt_joins_what_was_written(
    chars: int, codes: tuple[str, ...], before: Seam | None, continues: bool, expected: Seam | None
) -> None:
    state = TaskState(chars=chars, failures=failures(*codes), seam=before)
    assert retrying.seam(state, continues=continues) == expected


@pytest.mark.parametrize(
    ("codes", "limit", "expected"),
    [
        ((), 3, False),
        (("node_lost",), 3, False),
        (("node_lost", "engine_error", "node_lost"), 3, True),
        (("node_lost",), 2, True),
        ((), 1, False),
    ],
)
def test_a_task_is_suspect_when_one_more_node_would_be_its_death(
    codes: tuple[str, ...], limit: int, expected: bool
) -> None:
    settings = DispatcherSettings(max_lost_nodes=limit)
    assert retrying.is_suspect(failures(*codes), settings) is expected
