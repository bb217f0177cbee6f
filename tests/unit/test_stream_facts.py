"""What of the broker's answers about a stream is believed."""

from datetime import UTC, datetime

import msgspec
import pytest

from mesh.history.stream_facts import _has_leader, _Info, _is_settled, parse_time


def info(*, last: int, replicas: int = 3, leader: str = "n1") -> _Info:
    body = {"config": {"num_replicas": replicas}, "state": {"last_seq": last}, "cluster": {"leader": leader}}
    return msgspec.convert(body, _Info)


def test_no_leader_no_belief() -> None:
    assert not _has_leader(info(last=5, leader=""))
    assert _has_leader(info(last=5))


@pytest.mark.parametrize(
    ("last", "replicas", "again", "at_least", "believed"),
    [
        (0, 3, False, 0, False),
        (0, 3, True, 0, True),
        (0, 1, False, 0, True),
        (7, 3, False, 0, True),
        (7, 3, True, 8, False),
        (8, 3, False, 8, True),
    ],
)
def test_a_replicated_stream_is_empty_only_when_it_says_so_twice(
    last: int, replicas: int, again: bool, at_least: int, believed: bool
) -> None:
    assert _is_settled(info(last=last, replicas=replicas), again=again, at_least=at_least) is believed


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2026-11-23T22:58:01.46383109Z", 463831),
        ("2026-11-23T22:58:01Z", 0),
        ("2026-11-23T22:58:01.5Z", 500000),
    ],
)
def test_times_with_any_number_of_digits(text: str, microsecond: int) -> None:
    assert parse_time(text) == datetime(2026, 11, 23, 22, 58, 1, microsecond, UTC)
