"""The validity rule: what counts, and that nothing else changes anything."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.events import (
    AttemptShare,
    Seam,
    TaskAssigned,
    TaskChunk,
    TaskEnded,
    TaskError,
    TaskEvent,
    TaskHalted,
    TaskRequeued,
)
from streams.subjects import MESH
from streams.tasks.task import Phase, Rejection, TaskState, advance, fold
from streams.tasks.vectors import Vectors
from tests.unit.event_strategies import structs
from tests.unit.task_histories import NODES, USAGE, History, Written, histories

STRANGER = "node-z"
EVERYBODY = (*NODES, STRANGER, MESH)


def running() -> History:
    """Two chunks of node-a are there, under attempt 1."""
    return History().accept().assign("node-a").chunk("Hello").chunk(", wor")


def chunk(n: int, *, attempt: int = 1, offset: int = 10, text: str = "ld", **more: Any) -> TaskChunk:
    return TaskChunk(n=n, attempt=attempt, offset=offset, text=text, **more)


def accepted(state: TaskState, writer: str, event: TaskEvent) -> TaskState:
    following = advance(state, writer, event)
    assert isinstance(following, TaskState), f"{event} was rejected: {following}"
    return following


# --- what a history adds up to -----------------------------------------------------------------------------------


@given(histories())
def test_a_faultless_history_counts_whole(history: History) -> None:
    state = TaskState()
    for writer, event in history.events:
        state = accepted(state, writer, event)
    assert state.n == len(history.events)
    assert state.chars == len(history.text) == sum(share.chars for share in state.shares)
    assert state.tokens == history.tokens == sum(share.tokens for share in state.shares)
    assert [share.attempt for share in state.shares] == list(range(1, history.attempt + 1))
    assert state.attempt == history.attempt


@given(histories(), st.data())
def test_folding_can_stop_and_go_on_anywhere(history: History, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(history.events)))
    before = fold(history.events[:cut])
    assert fold(history.events[cut:], before) == fold(history.events)
    assert before == fold(history.events[:cut])


def test_an_answer_of_two_nodes_adds_up() -> None:
    history = running().queue(4).assign("node-b").chunk("ld").chunk("!", last=True).end()
    assert fold(history.events) == TaskState(
        n=9,
        phase=Phase.ENDED,
        attempt=2,
        node="node-b",
        chars=13,
        tokens=4,
        shares=(
            AttemptShare(attempt=1, node="node-a", chars=10, tokens=2),
            AttemptShare(attempt=2, node="node-b", chars=3, tokens=2),
        ),
        finish_reason="stop",
        usage=USAGE,
        outcome="completed",
    )


@pytest.mark.parametrize(
    ("history", "phase"),
    [
        (History(), Phase.SUBMITTED),
        (History().accept(), Phase.WAITING),
        (History().queue(), Phase.WAITING),
        (History().assign("node-a"), Phase.RUNNING),
        (running(), Phase.RUNNING),
        (running().queue(), Phase.WAITING),
        (running().queue().assign("node-b"), Phase.RUNNING),
        (running().requeue(), Phase.WAITING),
        (running().chunk("", last=True).requeue(), Phase.WAITING),
        (running().requeue().assign("node-b", "restarted"), Phase.RUNNING),
        (running().assign("node-b"), Phase.RUNNING),
        (running().chunk("", last=True), Phase.WRITTEN),
        (running().halt(), Phase.HALTED),
        (running().chunk("", last=True).halt(), Phase.HALTED),
        (running().halt().end("cancelled"), Phase.ENDED),
        (History().end("failed"), Phase.ENDED),
    ],
)
def test_each_event_leads_to_its_phase(history: History, phase: Phase) -> None:
    assert fold(history.events).phase is phase
    assert fold(history.events).is_over is (phase is Phase.ENDED)


def test_a_queued_task_tells_its_position_until_it_runs() -> None:
    waiting = fold(History().queue(7).events)
    assert (waiting.position, waiting.reason) == (7, "no node")
    begun = fold(History().queue(7).assign("node-a").events)
    assert (begun.position, begun.reason) == (None, None)


def test_an_end_tells_its_outcome_and_error() -> None:
    error = TaskError(code="node_lost", message="gone", status=503)
    state = accepted(TaskState(), MESH, TaskEnded(n=1, at_ms=0, outcome="failed", error=error))
    assert (state.outcome, state.error) == ("failed", error)


def test_offsets_count_characters_not_bytes_nor_utf16_units() -> None:
    state = fold(History().assign("node-a").chunk("é世🙂👩‍🚀").events)
    assert state.chars == 6
    for wrong in (len("é世🙂👩‍🚀".encode()), len("é世🙂👩‍🚀".encode("utf-16-le")) // 2):
        assert advance(state, "node-a", chunk(3, offset=wrong)) is Rejection.WRONG_OFFSET
    assert accepted(state, "node-a", chunk(3, offset=6)).chars == 8


def test_an_answer_that_is_restarted_owes_nothing_to_what_was_written_before() -> None:
    history = running().requeue("cannot_continue").assign("node-b", "restarted").chunk("Bye").chunk("", last=True)
    state = fold(history.events)
    assert (state.chars, state.tokens, state.seam) == (3, 2, "restarted")
    assert [(share.node, share.chars, share.tokens) for share in state.shares] == [("node-a", 0, 0), ("node-b", 3, 2)]
    assert [(failure.attempt, failure.node, failure.code) for failure in state.failures] == [
        (1, "node-a", "cannot_continue")
    ]


@pytest.mark.parametrize("seam", [None, "continued", "replayed"])
def test_only_an_open_restart_may_begin_at_nothing(seam: Seam | None) -> None:
    state = fold(running().requeue().events)
    wrong = TaskAssigned(n=state.n + 1, at_ms=0, attempt=2, node="node-b", policy="", offset=0, seam=seam)
    assert advance(state, MESH, wrong) is Rejection.WRONG_OFFSET
    assert accepted(state, MESH, replace(wrong, offset=state.chars)).chars == state.chars
    assert accepted(state, MESH, replace(wrong, seam="restarted")).chars == 0


@pytest.mark.parametrize("attempt", [1, 3])
def test_a_requeue_is_of_the_current_attempt_or_of_none(attempt: int) -> None:
    state = fold(running().requeue().assign("node-b").events)
    marker = TaskRequeued(n=state.n + 1, at_ms=0, attempt=attempt, node="", code="", message="", retry_at_ms=0)
    assert advance(state, MESH, marker) is Rejection.STALE_ATTEMPT
    assert accepted(state, MESH, replace(marker, attempt=2)).phase is Phase.WAITING


# --- what does not count -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("writer", "event", "why"),
    [
        ("node-a", chunk(4), Rejection.REPEAT),
        ("node-a", chunk(4, text="other words"), Rejection.REPEAT),
        ("node-a", chunk(6), Rejection.GAP),
        (STRANGER, chunk(5), Rejection.FOREIGN_WRITER),
        (MESH, chunk(5), Rejection.FOREIGN_WRITER),
        ("node-a", chunk(5, attempt=2), Rejection.STALE_ATTEMPT),
        ("node-a", chunk(5, offset=9), Rejection.WRONG_OFFSET),
        ("node-a", chunk(5, offset=11), Rejection.WRONG_OFFSET),
        ("node-a", TaskEnded(n=5, at_ms=0, outcome="completed"), Rejection.FOREIGN_WRITER),
        ("node-a", TaskHalted(n=5, at_ms=0, reason="mine"), Rejection.FOREIGN_WRITER),
        (MESH, TaskHalted(n=3, at_ms=0, reason="late"), Rejection.REPEAT),
        (MESH, TaskHalted(n=7, at_ms=0, reason="early"), Rejection.GAP),
        (MESH, History().accept().events[0][1], Rejection.REPEAT),
        (MESH, TaskAssigned(n=5, at_ms=0, attempt=1, node="node-b", policy="", offset=10), Rejection.STALE_ATTEMPT),
        (MESH, TaskAssigned(n=5, at_ms=0, attempt=3, node="node-b", policy="", offset=10), Rejection.STALE_ATTEMPT),
        (MESH, TaskAssigned(n=5, at_ms=0, attempt=2, node="node-b", policy="", offset=0), Rejection.WRONG_OFFSET),
    ],
)
def test_a_wrong_event_is_rejected_for_its_reason(writer: str, event: TaskEvent, why: Rejection) -> None:
    assert advance(fold(running().events), writer, event) is why


@pytest.mark.parametrize(
    "history",
    [running().queue(), running().chunk("", last=True), running().halt(), running().halt().end("cancelled")],
    ids=["queued again", "written", "halted", "ended"],
)
def test_a_node_writes_only_while_its_attempt_runs(history: History) -> None:
    state = fold(history.events)
    assert advance(state, "node-a", chunk(state.n + 1)) is Rejection.OUT_OF_PHASE


@pytest.mark.parametrize(
    "history",
    [running().chunk("", last=True), running().halt(), running().halt().end("cancelled")],
    ids=["written", "halted", "ended"],
)
def test_an_answer_that_is_written_or_given_up_is_not_begun_again(history: History) -> None:
    state = fold(history.events)
    again = History()
    again.events = [*history.events]
    again.attempt, again.text = history.attempt, history.text
    for writer, event in (again.assign("node-b").events[-1], again.queue().events[-1], again.accept().events[-1]):
        assert advance(state, writer, replace(event, n=state.n + 1)) is Rejection.OUT_OF_PHASE


def test_a_lost_attempt_of_a_node_stays_void_when_the_same_node_is_chosen_again() -> None:
    state = fold(running().assign("node-a").events)
    assert advance(state, "node-a", chunk(6, attempt=1)) is Rejection.STALE_ATTEMPT
    assert accepted(state, "node-a", chunk(6, attempt=2)).chars == 12


@pytest.mark.parametrize("kind", TaskEvent.__args__)
@given(history=histories(), data=st.data())
def test_no_event_whatever_counts_after_the_end(kind: type[TaskEvent], history: History, data: st.DataObject) -> None:
    state = fold(history.events)
    over = state if state.is_over else fold(history.end().events)
    event = data.draw(structs(kind))
    for writer in EVERYBODY:
        for n in (event.n, over.n, over.n + 1):
            assert isinstance(advance(over, writer, replace(event, n=n)), Rejection)


def test_a_task_is_halted_once() -> None:
    halted = running().halt()
    marker = replace(halted.events[-1][1], n=halted.next_n)
    assert advance(fold(halted.events), MESH, marker) is Rejection.OUT_OF_PHASE


def test_words_stored_before_their_assignment_never_count() -> None:
    early = chunk(6, attempt=2, text="rubbish")
    history = [*running().events, ("node-b", early), running().assign("node-b").events[-1]]
    assert fold(history) == fold(running().assign("node-b").events)


# --- what disturbs a reader changes nothing ----------------------------------------------------------------------


def disturbances(history: History, count: int, state: TaskState) -> Iterator[Written]:
    """Everything that must not count after the first ``count`` events of a history, though much of it looks right."""
    n, chars, node = state.n + 1, state.chars, state.node or STRANGER
    for attempt in range(1, state.attempt + 3):
        yield from ((writer, chunk(n, attempt=attempt, offset=chars)) for writer in EVERYBODY if writer != state.node)
        if attempt != state.attempt:
            yield node, chunk(n, attempt=attempt, offset=chars)
    yield from ((node, chunk(n, attempt=max(state.attempt, 1), offset=chars + wrong)) for wrong in (1, 2, 50))
    yield from ((writer, chunk(n + 1, attempt=max(state.attempt, 1), offset=chars)) for writer in EVERYBODY)
    yield from ((writer, TaskEnded(n=n, at_ms=0, outcome="completed")) for writer in EVERYBODY if writer != MESH)
    yield MESH, TaskAssigned(n=n, at_ms=0, attempt=state.attempt + 2, node="node-b", policy="", offset=chars)
    yield from history.events[:count]
    yield from history.events[count + 1 :]


@given(histories())
def test_repeated_foreign_stale_and_early_events_change_nothing(history: History) -> None:
    state, disturbed = TaskState(), list[Written]()
    for count in range(len(history.events) + 1):
        for writer, event in disturbances(history, count, state):
            assert isinstance(advance(state, writer, event), Rejection)
            disturbed.append((writer, event))
        if count < len(history.events):
            disturbed.append(history.events[count])
            state = accepted(state, *history.events[count])
    assert fold(disturbed) == state == fold(history.events)


@given(histories(), st.randoms(use_true_random=False))
def test_a_reader_that_fetches_again_at_gaps_gets_the_same_whatever_the_order(history: History, chance: Any) -> None:
    delivered = history.events * 2
    chance.shuffle(delivered)
    state = TaskState()
    for writer, event in delivered:
        following = advance(state, writer, event)
        if following is Rejection.GAP:
            state = fold(history.events[: event.n], state)
        elif isinstance(following, TaskState):
            state = following
        assert state == fold(history.events[: state.n])
    assert state == fold(history.events)


# --- vectors -------------------------------------------------------------------------------------------------------


def vectors(n: int, *, offset: int, count: int, text: str = "") -> TaskChunk:
    return TaskChunk(
        n=n, attempt=1, offset=offset, text=text, tokens=count, vectors=Vectors(count=count, floats=bytes(8 * count))
    )


def test_where_the_answer_is_vectors_all_that_counts_characters_counts_vectors() -> None:
    state = accepted(fold(History().accept().assign("node-a").events), "node-a", vectors(3, offset=0, count=16))
    state = accepted(state, "node-a", vectors(4, offset=16, count=5))
    assert (state.chars, state.tokens, state.shares[-1].chars) == (21, 21, 21)
    assert advance(state, "node-a", vectors(5, offset=16, count=1)) is Rejection.WRONG_OFFSET


def test_a_chunk_of_text_and_vectors_at_once_does_not_count() -> None:
    state = fold(History().accept().assign("node-a").events)
    assert advance(state, "node-a", vectors(3, offset=0, count=1, text="x")) is Rejection.MIXED
