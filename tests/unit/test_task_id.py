"""Task ids: shape, bucket, and the age window that keeps an expired subject closed."""

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import InvalidTaskId
from streams.tasks.task_id import (
    BUCKETS,
    CLOCK_SKEW,
    bucket_of,
    check_age,
    created_ms,
    new_task_id,
    parse_task_id,
    sibling_task_id,
)
from streams.tokens import token

NOW_MS = 1_767_225_600_000
DAY = timedelta(hours=24)
STAMPS = st.integers(0, 2**48 - 1)


def id_of_age(age: timedelta) -> str:
    return new_task_id(NOW_MS - age // timedelta(milliseconds=1))


@given(STAMPS)
def test_a_new_id_is_a_uuid7_that_tells_its_time(stamp: int) -> None:
    task = new_task_id(stamp)
    known = uuid.UUID(hex=task)
    assert known.hex == task == token(task)
    assert (known.version, known.variant) == (7, uuid.RFC_4122)
    assert created_ms(task) == stamp


def test_an_id_without_a_given_time_is_stamped_now() -> None:
    before = int(datetime.now(UTC).timestamp() * 1000)
    stamp = created_ms(new_task_id())
    assert before - 1 <= stamp <= int(datetime.now(UTC).timestamp() * 1000) + 1


def test_ids_of_one_instant_differ_and_spread_over_all_buckets() -> None:
    ids = [new_task_id(NOW_MS) for _ in range(4_000)]
    counts = Counter(map(bucket_of, ids))
    assert len(set(ids)) == len(ids)
    assert set(counts) == set(BUCKETS)
    assert min(counts.values()) > len(ids) / len(BUCKETS) / 2


@given(STAMPS)
def test_every_spelling_of_a_uuid_is_the_same_id(stamp: int) -> None:
    task = new_task_id(stamp)
    dashed = str(uuid.UUID(hex=task))
    assert parse_task_id(task) == parse_task_id(dashed) == parse_task_id(dashed.upper()) == task


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "5f0c5c5e-3b0b-4b7e-9d0e-0a6c3f1d2e4b",
        "0" * 32,
        "019b7a3e00007abc8def0123456789a",  # 31 digits
        "019b7a3e00007abc8def0123456789abc",  # 33
        "019b7a3e00007abccdef0123456789ab",  # variant
        "019b7a3e00006abc8def0123456789ab",  # version
        "019b7a3e-00007abc8def0123456789ab",  # one dash
        "-019b7a3e00007abc8def0123456789ab",
        "019b-7a3e-0000-7abc-8def0123456789ab",
        "{019b7a3e-0000-7abc-8def-0123456789ab}",
        "019b7a3e00007abc8def0123456789ab\n",
        " 19b7a3e00007abc8def0123456789ab",
        "019b7a3e00007abc8def0123456789a٣",
        "019b7a3e00007abc8def0123456789.*",
        "0" * 1_000_000,
    ],
)
def test_anything_else_is_refused_in_few_words(text: str) -> None:
    with pytest.raises(InvalidTaskId) as refusal:
        parse_task_id(text)
    assert len(str(refusal.value)) < 200


@given(st.text())
def test_arbitrary_text_is_no_id(text: str) -> None:
    with pytest.raises(InvalidTaskId):
        parse_task_id(text)


@pytest.mark.parametrize("age", [timedelta(0), timedelta(hours=1), DAY, -CLOCK_SKEW])
def test_an_id_within_the_window_passes(age: timedelta) -> None:
    check_age(parse_task_id(id_of_age(age)), now_ms=NOW_MS, retention=DAY)


@pytest.mark.parametrize(
    ("age", "why"),
    [
        (DAY + timedelta(milliseconds=1), "older than the retention window"),
        (timedelta(days=365), "older than the retention window"),
        (-CLOCK_SKEW - timedelta(milliseconds=1), "lies in the future"),
    ],
)
def test_an_id_outside_the_window_is_refused(age: timedelta, why: str) -> None:
    with pytest.raises(InvalidTaskId, match=why):
        check_age(parse_task_id(id_of_age(age)), now_ms=NOW_MS, retention=DAY)


@given(STAMPS, STAMPS, st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)))
def test_the_window_is_exactly_retention_and_skew(stamp: int, now_ms: int, retention: timedelta) -> None:
    age = timedelta(milliseconds=now_ms - stamp)
    if -CLOCK_SKEW <= age <= retention:
        check_age(new_task_id(stamp), now_ms=now_ms, retention=retention)
    else:
        with pytest.raises(InvalidTaskId):
            check_age(new_task_id(stamp), now_ms=now_ms, retention=retention)


@given(STAMPS, st.integers(1, 100))
def test_a_sibling_is_another_id_of_the_same_time_and_always_the_same(stamp: int, number: int) -> None:
    task = new_task_id(stamp)
    sibling = sibling_task_id(task, number)
    assert parse_task_id(sibling) == sibling == sibling_task_id(task, number) != task
    assert created_ms(sibling) == stamp
    assert sibling_task_id(task, number + 1) != sibling
