"""What of limits passes with time, as two gateways on one store see it."""

from gateway.limits.lease import LEASE_MS
from gateway.limits.limiter import Limiter
from gateway.limits.memory_store import MemoryStore
from gateway.limits.meter import HELD_MS
from gateway.limits.rules import LimitRules
from gateway.limits.store import NOTHING_STORED, Owner
from streams.access.limits import Limits
from tests.contract.limited_gateways import Time, caller, limiter, opened, passes


def two_gateways(time: Time, **limits: int) -> tuple[Limiter, Limiter]:
    store, rules = MemoryStore(), LimitRules(usual=Limits(**limits))
    return Limiter(store, rules, clock=time), Limiter(store, rules, clock=time)


async def test_a_stream_that_goes_on_keeps_its_place_and_that_of_a_dead_gateway_comes_free() -> None:
    time, who = Time(), caller("acme")
    first, second = two_gateways(time, concurrent_streams=1)
    assert await opened(first, who) is not None
    meter = first.meters_of(who)[0]
    for _ in range(3):
        time.now_ms += HELD_MS // 2
        assert meter.is_due()
        await meter.tell()
    assert await opened(second, who) is None
    # It says no more, and is believed for a while yet.
    time.now_ms += HELD_MS - 1
    assert await opened(second, who) is None
    time.now_ms += 1
    assert await opened(second, who) is not None


async def test_what_a_gateway_has_in_hand_and_does_not_use_goes_back_after_a_second() -> None:
    time, who = Time(), caller("acme")
    first, second = two_gateways(time, requests_per_minute=6000)
    assert await passes(first, who)
    assert await passes(second, who)
    meter, other = first.meters_of(who)[0], second.meters_of(who)[0]
    seen = other.standing("requests")
    assert seen is not None
    # Of the hundred that the first has taken, ninety-nine are in its hand.
    assert seen.remaining == 6000 - 100 - 1
    assert not meter.is_due()
    time.now_ms += LEASE_MS
    assert meter.is_due()
    await meter.tell()
    assert meter.is_at_rest
    await other.tell()
    seen = other.standing("requests")
    assert seen is not None
    assert seen.remaining == 6000


async def test_a_state_of_another_version_begins_anew() -> None:
    store, who = MemoryStore(), caller("acme")
    assert await store.swap(Owner("account", who.account), NOTHING_STORED, b"\xc1 of a newer version") is not None
    assert await passes(limiter(store, requests_per_minute=1), who)


def test_what_a_dead_gateway_held_is_believed_for_some_seconds_only() -> None:
    assert 2000 <= HELD_MS <= 15_000
