"""Connections of one address: how many may be open, how many may be new, and who is not counted."""

import logging

import pytest

from gateway.client_address import parse_network
from gateway.http import arrivals as counting
from gateway.http.arrivals import NEW_PER_MINUTE, Arrivals

SOMEBODY, OTHER = "198.51.100.1", "203.0.113.5"


class Clock:
    now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


def test_one_address_has_so_many_open_and_others_are_not_touched() -> None:
    arrivals = Arrivals(2, clock=Clock())
    assert [arrivals.admit(SOMEBODY) for _ in range(3)] == [True, True, False]
    assert arrivals.admit(OTHER)
    arrivals.leave(SOMEBODY)
    assert [arrivals.admit(SOMEBODY) for _ in range(2)] == [True, False]
    arrivals.leave(OTHER)
    assert [arrivals.admit(OTHER) for _ in range(3)] == [True, True, False]


def test_whoever_comes_and_goes_is_slowed_too() -> None:
    clock = Clock()
    arrivals = Arrivals(10, clock=clock)

    def come_and_go() -> bool:
        admitted = arrivals.admit(SOMEBODY)
        if admitted:
            arrivals.leave(SOMEBODY)
        return admitted

    assert sum(come_and_go() for _ in range(100)) == 10 * NEW_PER_MINUTE
    clock.now_ms += 6_000
    assert sum(come_and_go() for _ in range(100)) == NEW_PER_MINUTE


def test_networks_of_ipv6_are_one_and_proxies_and_this_machine_are_not_counted() -> None:
    arrivals = Arrivals(1, [parse_network("203.0.113.0/24")], clock=Clock())
    assert [arrivals.admit(peer) for peer in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")] == [True, False, True]
    for peer in (OTHER, "127.0.0.1", "::1", ""):
        assert [arrivals.admit(peer) for _ in range(5)] == [True] * 5
    arrivals.leave(OTHER)
    assert all(Arrivals(None, clock=Clock()).admit(SOMEBODY) for _ in range(5))


def test_what_is_kept_in_mind_is_bounded_and_told_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(counting, "_MOST", 3)
    arrivals = Arrivals(1, clock=Clock())
    with caplog.at_level(logging.WARNING):
        for number in range(9):
            assert arrivals.admit(f"198.51.100.{number}")
            assert not arrivals.admit(f"198.51.100.{number}")
            assert len(arrivals._new) <= 3
    assert len(caplog.records) == 1
