"""Whoever fails again and again waits longer each time; whoever does not fail never waits, however many they are."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.auth.failed_logins import ADDRESS_PATIENCE, KEY_PATIENCE, FailedLogins, TooManyFailures
from gateway.client_address import client_address, parse_network
from mesh.access.api_keys import new_key
from mesh.identity.callout import HOST_PATIENCE
from mesh.identity.slowdown import Patience, Slowdown, after_failure, origin_of

STRICT = Patience(free=3, forgiven_per_s=0.1, first_s=1, longest_s=8)
PATIENCES = st.builds(
    Patience,
    free=st.integers(0, 20),
    forgiven_per_s=st.floats(0.01, 10),
    first_s=st.floats(0.1, 2),
    longest_s=st.floats(2, 100),
)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_some_failures_are_free_and_each_further_one_doubles_the_wait() -> None:
    slowdown, waits, now_s = Slowdown(STRICT), [], 0.0
    for _ in range(9):
        waits.append(round(slowdown.failed("a", now_s), 1))
        now_s += waits[-1]
    # What is forgiven meanwhile counts a little.
    assert waits[:5] == [0, 0, 0, 1, 1.9]
    assert waits[5:] == sorted(waits[5:])
    assert max(waits) <= 8
    assert slowdown.wait_s("b", now_s) == 0


@given(PATIENCES, st.lists(st.floats(0, 30), max_size=200))
@example(Patience(free=0, forgiven_per_s=0.125, first_s=2, longest_s=2), [0, 2, 2])
def test_in_any_span_no_more_fail_than_the_rule_says(patience: Patience, pauses_s: list[float]) -> None:
    slowdown, now_s, failed_at_s = Slowdown(patience), 0.0, list[float]()
    for pause_s in pauses_s:
        now_s += pause_s
        if slowdown.wait_s("a", now_s) == 0:
            slowdown.failed("a", now_s)
            failed_at_s.append(now_s)
    for begin, start_s in enumerate(failed_at_s):
        for end, end_s in enumerate(failed_at_s[begin:], start=1):
            assert end <= patience.most_failures(end_s - start_s) + 1e-6


@given(PATIENCES, st.integers(1, 2000))
def test_no_number_of_failures_makes_the_wait_longer_than_the_longest(patience: Patience, failures: int) -> None:
    record = None
    for _ in range(failures):
        record = after_failure(patience, record, 0.0)
    assert record is not None
    assert 0 <= record.until_s <= max(patience.longest_s, patience.first_s) * (1 + 1e-9)


def test_a_flood_from_everywhere_fills_no_memory_and_the_latest_are_kept() -> None:
    slowdown = Slowdown(STRICT, most=100)
    for number in range(1000):
        for _ in range(5):
            slowdown.failed(f"host-{number}", 0.0)
    assert len(slowdown) == 100
    assert slowdown.wait_s("host-999", 0.0) > 0
    assert slowdown.wait_s("host-0", 0.0) == 0


def test_those_who_are_forgiven_are_forgotten() -> None:
    slowdown = Slowdown(STRICT)
    slowdown.failed("a", 0.0)
    slowdown.failed("b", 100.0)
    assert len(slowdown) == 1


def test_two_hundred_devices_of_one_host_that_are_refused_once_each_wait_for_nothing() -> None:
    """Those that connect rightly are not even counted; of those that do not, a whole fleet may fail at once."""
    slowdown = Slowdown(HOST_PATIENCE)
    assert [slowdown.failed("127.0.0.1", 0.0) for _ in range(500)] == [0.0] * 500
    assert slowdown.failed("127.0.0.1", 0.0) == 0.25
    # A device that is not admitted yet, and tries every two seconds, never comes there alone.
    assert max(slowdown.failed("10.0.0.1", 2.0 * number) for number in range(5000)) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("not an address", "not an address", True),
    ],
)
def test_an_address_of_ipv6_is_counted_by_its_network(one: str, other: str, same: bool) -> None:
    assert (origin_of(one) == origin_of(other)) is same


# --- addresses behind proxies ------------------------------------------------------------------------------------

PROXIES = tuple(map(parse_network, ("10.0.0.0/8", "2001:db8::/32")))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["[2001:db8::5]:443, 10.0.0.2"], "2001:db8::5"),
        ("10.0.0.1", ["198.51.100.7:1234"], "198.51.100.7"),
        ("10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("", ["198.51.100.7"], ""),
    ],
)
def test_the_client_is_the_nearest_hop_that_no_trusted_proxy_is(peer: str, forwarded: list[str], client: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == client


def test_without_trusted_proxies_nobody_chooses_an_address() -> None:
    assert client_address("10.0.0.1", ["198.51.100.7"], ()) == "10.0.0.1"


@given(st.lists(st.text(max_size=40), max_size=5))
def test_no_header_makes_an_address_of_ours_out_of_nonsense(forwarded: list[str]) -> None:
    client = client_address("10.0.0.1", forwarded, PROXIES)
    assert origin_of(client)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "everybody", "10.0.0.1/8", ""])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no address and no network"):
        parse_network(text)


# --- failed logins over HTTP -------------------------------------------------------------------------------------


def fail(failures: FailedLogins, address: str, text: str | None, times: int) -> None:
    for _ in range(times):
        failures.failed(address, text)


def test_an_address_that_fails_too_often_waits_and_others_do_not() -> None:
    clock = Clock()
    failures = FailedLogins(clock=clock)
    fail(failures, "192.0.2.1", None, ADDRESS_PATIENCE.free)
    failures.check("192.0.2.1", "anything")
    fail(failures, "192.0.2.1", None, 1)
    with pytest.raises(TooManyFailures, match="Try again in 1 s") as caught:
        failures.check("192.0.2.1", "anything")
    assert caught.value.retry_after_s == 1
    failures.check("192.0.2.2", "anything")
    clock.now_s += 1
    failures.check("192.0.2.1", "anything")


def test_who_was_right_before_does_not_wait_for_others_behind_the_same_address() -> None:
    failures = FailedLogins(clock=Clock())
    failures.proved("a good key")
    fail(failures, "192.0.2.1", None, 50)
    failures.check("192.0.2.1", "a good key")
    with pytest.raises(TooManyFailures):
        failures.check("192.0.2.1", "another key")
    with pytest.raises(TooManyFailures):
        failures.check("192.0.2.1")
    failures.failed("192.0.2.9", "a good key")
    with pytest.raises(TooManyFailures):
        failures.check("192.0.2.1", "a good key")


def test_wrong_secrets_of_one_key_are_slowed_wherever_they_come_from() -> None:
    failures, key = FailedLogins(clock=Clock()), new_key()
    wrong = f"ig3_{key.key_id}_{new_key().secret}"
    for number in range(KEY_PATIENCE.free):
        failures.failed(f"192.0.2.{number}", wrong)
    with pytest.raises(TooManyFailures):
        failures.failed("198.51.100.1", wrong)
    # Its holder has the right secret, and is asked for nothing else.
    failures.check("203.0.113.1", key.text)
    failures.failed("198.51.100.2", new_key().text)


def test_what_was_right_is_not_kept_and_does_not_fill_memory() -> None:
    failures: Any = FailedLogins(clock=Clock())
    for number in range(5000):
        failures.proved(f"secret-{number}")
    assert len(failures._proven) == 4096
    assert not any("secret" in str(kept) for kept in failures._proven)
