"""What the events of a vector store add up to."""

import pytest

from streams.batches.events import Label
from streams.errors import InvalidSubject
from streams.stores.events import (
    Attribute,
    StoreBatchCancelled,
    StoreChanged,
    StoreClosed,
    StoreEvent,
    StoreExpired,
    StoreFileAdded,
    StoreFileChanged,
    StoreFileFailed,
    StoreFileIndexed,
    StoreFileRemoved,
    StoreOpened,
    StoreReembedding,
)
from streams.stores.fold import StoreState, fold_store
from streams.stores.subjects import PassagesKey, StoreKey, parse_passages, parse_store, passages, store
from streams.tokens import Token

KEY = StoreKey(Token("acme"), Token("vs_1"))
OPENED = StoreOpened(at_ms=0, model="m", name="rules", expires_after_days=1)
_DAY_MS = 86_400_000


def added(file: str = "file-a", *, at_ms: int = 1, batch: str | None = None) -> StoreFileAdded:
    return StoreFileAdded(at_ms=at_ms, file=file, filename=f"{file}.txt", batch=batch)


def indexed(generation: int, file: str = "file-a", *, model: str = "m") -> StoreFileIndexed:
    return StoreFileIndexed(
        at_ms=9, file=file, generation=generation, model=model, parts=1, passages=2, tokens=3, characters=4, bytes=100
    )


def failed(generation: int, file: str = "file-a") -> StoreFileFailed:
    return StoreFileFailed(at_ms=9, file=file, generation=generation, code="unsupported_file", message="Why.")


def state_of(*events: StoreEvent) -> StoreState:
    """The state after these events, whose sequences are 11, 12, 13 and so on."""
    state = fold_store(enumerate((OPENED, *events), start=10))
    assert state is not None
    return state


def test_nothing_is_a_store_that_was_not_opened() -> None:
    assert fold_store([]) is None
    assert fold_store([(1, added()), (2, StoreClosed(at_ms=1))]) is None


def test_a_file_is_taken_in_once_its_own_generation_is() -> None:
    state = state_of(added())
    assert state.awaits("file-a", 11)
    assert (state.count("in_progress"), state.usage_bytes, state.models) == (1, 0, frozenset())
    state.apply(12, indexed(11))
    assert (state.count("completed"), state.usage_bytes, state.models) == (1, 100, {"m"})
    assert state.counts("file-a", 11)
    assert not state.awaits("file-a", 11)


def test_a_generation_that_nobody_asked_for_last_never_counts() -> None:
    state = state_of(added(), added(), indexed(11))
    assert (state.count("in_progress"), state.counts("file-a", 11)) == (1, False)
    state.apply(14, indexed(12))
    state.apply(15, failed(12))
    assert (state.files["file-a"].status, state.files["file-a"].fault) == ("completed", None)


def test_what_is_said_of_a_file_that_was_removed_counts_for_nothing() -> None:
    state = state_of(added(), StoreFileRemoved(at_ms=2, file="file-a"), indexed(11))
    assert (state.files, state.awaits("file-a", 11), state.counts("file-a", 11)) == ({}, False, False)
    state.apply(14, added())
    state.apply(15, indexed(11))
    assert state.awaits("file-a", 14)


def test_while_a_store_is_embedded_anew_the_old_passages_are_found() -> None:
    state = state_of(added(), added("file-b"), indexed(11), indexed(12, "file-b"), StoreReembedding(at_ms=5, model="n"))
    assert state.model == "n"
    assert [file.id for file in state.awaited(15)] == ["file-a", "file-b"]
    assert state.counts("file-a", 11)
    state.apply(16, indexed(15, model="n"))
    assert (state.counts("file-a", 11), state.counts("file-a", 15), state.models) == (False, True, {"m", "n"})
    state.apply(17, failed(15, "file-b"))
    assert state.files["file-b"].status == "failed"
    assert state.counts("file-b", 12)


def test_what_failed_is_tried_again_when_the_store_is_embedded_anew() -> None:
    state = state_of(added(), failed(11), StoreReembedding(at_ms=5, model="m"))
    assert (state.files["file-a"].status, state.files["file-a"].fault) == ("in_progress", None)


def test_a_cancelled_batch_takes_its_files_that_are_not_taken_in_yet() -> None:
    state = state_of(added("file-a", batch="b"), added("file-b", batch="b"), added("file-c"), indexed(11))
    state.apply(15, StoreBatchCancelled(at_ms=5, batch="b"))
    assert {file.id: file.status for file in state.files.values()} == {
        "file-a": "completed",
        "file-b": "cancelled",
        "file-c": "in_progress",
    }
    state.apply(16, indexed(12, "file-b"))
    state.apply(17, StoreReembedding(at_ms=6, model="n"))
    assert state.files["file-b"].status == "cancelled"


def test_a_store_is_renamed_piece_by_piece_and_using_it_puts_its_end_off() -> None:
    state = state_of(StoreChanged(at_ms=5, name="more rules"), StoreChanged(at_ms=7))
    assert (state.name, state.labels, state.expires_at_ms) == ("more rules", (), 7 + _DAY_MS)
    state.apply(13, StoreChanged(at_ms=6, labels=(Label(name="a", value="b"),), expires_after_days=0))
    assert (state.name, len(state.labels), state.expires_at_ms) == ("more rules", 1, None)


def test_outcomes_of_files_put_no_end_off() -> None:
    assert state_of(added(at_ms=5), indexed(11)).expires_at_ms == 5 + _DAY_MS


def test_a_store_is_due_until_somebody_says_that_it_expired_and_over_from_then_on() -> None:
    state = state_of(added(at_ms=5))
    ends_at_ms = 5 + _DAY_MS
    assert [(state.is_due(at_ms), state.is_over(at_ms)) for at_ms in (ends_at_ms - 1, ends_at_ms)] == [
        (False, False),
        (True, True),
    ]
    state.apply(12, StoreExpired(at_ms=ends_at_ms))
    assert (state.is_due(ends_at_ms), state.is_over(0), state.expires_at_ms) == (False, True, ends_at_ms)
    assert not any(one.is_due(ends_at_ms) for one in (state_of(StoreClosed(at_ms=2)),))


def test_of_an_expired_store_nothing_is_found_or_awaited_and_nothing_brings_it_back() -> None:
    state = state_of(added(), added("file-b"), added("file-c"), indexed(11), failed(12, "file-b"))
    for sequence, event in enumerate(
        (
            StoreExpired(at_ms=9),
            indexed(13, "file-c"),
            added("file-d"),
            StoreChanged(at_ms=10 * _DAY_MS, name="other", expires_after_days=0),
            StoreReembedding(at_ms=9, model="n"),
            StoreExpired(at_ms=10),
            StoreFileRemoved(at_ms=10 * _DAY_MS, file="file-a"),
        ),
        start=16,
    ):
        state.apply(sequence, event)
    assert {file.id: file.status for file in state.files.values()} == {"file-b": "failed", "file-c": "cancelled"}
    assert (state.name, state.model, state.usage_bytes, state.used_at_ms) == ("rules", "m", 0, 1)
    assert not state.counts("file-a", 11)
    assert not state.awaits("file-c", 13)
    state.apply(23, StoreClosed(at_ms=11))
    assert state.is_closed


def test_attributes_of_a_file_are_replaced_and_those_of_an_unknown_one_are_passed_over() -> None:
    new = (Attribute(name="year", value=1843.0),)
    state = state_of(added(), *(StoreFileChanged(at_ms=2, file=file, attributes=new) for file in ("file-a", "file-x")))
    assert {file.id: file.attributes for file in state.files.values()} == {"file-a": new}


def test_nothing_follows_a_close() -> None:
    state = state_of(added(), StoreClosed(at_ms=2), indexed(11), added("file-b"), OPENED)
    assert (state.is_closed, list(state.files)) == (True, ["file-a"])
    assert not state.awaits("file-a", 11)
    assert state.awaited(11) == ()


def test_subjects_say_whose_passages_they_hold() -> None:
    key = PassagesKey(KEY, Token("file-a"), 70_000, 3)
    assert parse_passages(passages(*key)) == key
    assert parse_store(store(KEY)) == KEY


@pytest.mark.parametrize(
    "subject",
    ["passages.a.b.c.1", "passages.a.b.c.x.1", "passages.a.b.c.1.y", "passages.a.*.c.1.1", "stores.a.b.c.1.1"],
)
def test_a_subject_of_another_shape_names_no_passages(subject: str) -> None:
    with pytest.raises(InvalidSubject):
        parse_passages(subject)


@pytest.mark.parametrize("subject", ["stores.a", "stores.a.b.c", "stores.a.>", "batches.a.b"])
def test_a_subject_of_another_shape_names_no_store(subject: str) -> None:
    with pytest.raises(InvalidSubject):
        parse_store(subject)
