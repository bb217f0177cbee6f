"""What a node takes and what it refuses."""

import pytest

from nodes.attempts.admission import Occupancy, objection_to
from streams.messages import Assign
from streams.tasks.chat import Message, Sampling
from streams.tasks.task_id import new_task_id

NOW_MS = 1_000_000


def assign(*, model: str = "m", deadline_at_ms: int | None = None, written: int = 0) -> Assign:
    return Assign(
        account="local",
        task=new_task_id(),
        attempt=1,
        next_n=2,
        last_sequence=1,
        model=model,
        messages=(Message(role="user", content="x"),),
        sampling=Sampling(),
        dispatcher="d",
        deadline_at_ms=deadline_at_ms,
        written=written,
    )


def refusal(order: Assign, *, busy: int = 0, draining: bool = False) -> tuple[str, int] | None:
    objection = objection_to(order, {"m": Occupancy(slots=2, busy=busy)}, now_ms=NOW_MS, draining=draining)
    return None if objection is None else (objection.code, objection.status)


@pytest.mark.parametrize("busy", [0, 1])
def test_a_model_with_a_free_slot_is_taken(busy: int) -> None:
    assert refusal(assign(), busy=busy) is None


@pytest.mark.parametrize("busy", [2, 3])
def test_no_task_waits_on_a_node(busy: int) -> None:
    assert refusal(assign(), busy=busy) == ("node_busy", 503)


def test_another_node_may_serve_what_this_one_does_not() -> None:
    assert refusal(assign(model="other")) == ("model_not_found", 503)


def test_a_draining_node_takes_nothing() -> None:
    assert refusal(assign(), draining=True) == ("node_draining", 503)


@pytest.mark.parametrize(("deadline_at_ms", "taken"), [(NOW_MS + 1, True), (NOW_MS, False), (0, False), (None, True)])
def test_a_deadline_in_the_past_is_final(deadline_at_ms: int | None, taken: bool) -> None:
    assert refusal(assign(deadline_at_ms=deadline_at_ms)) == (None if taken else ("deadline_exceeded", 408))


def test_an_attempt_that_another_process_of_the_node_began_is_over() -> None:
    assert refusal(assign(written=1)) == ("node_lost", 503)


def test_what_no_other_node_could_do_either_is_told_first() -> None:
    order = assign(model="other", deadline_at_ms=0)
    assert refusal(order, draining=True) == ("deadline_exceeded", 408)
