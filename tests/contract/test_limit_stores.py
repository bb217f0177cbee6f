"""What every store of limits promises, each against its real counterpart; and two gateways that share one."""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from gateway.errors import GatewayError
from gateway.limits.bucket import MINUTE_MS
from gateway.limits.lease import lease_of
from gateway.limits.memory_store import MemoryStore
from gateway.limits.nats_store import NatsStore
from gateway.limits.redis_store import RedisStore
from gateway.limits.store import NOTHING_STORED, LimitStore, Owner, SharedLimits, StoreAway
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.provision import provision
from streams.clock import now_ms
from streams.tokens import Token
from streams.topology import LIMITS, LIMITS_KEPT, stream_specs
from tests.contract.limited_gateways import Time, caller, limiter, opened, passes
from tests.nats_server import NatsServer
from tests.patient_limits import be_patient, patient_store
from tests.valkey_server import ValkeyServer

LIMIT_S = 30.0
KINDS = ("memory", "nats", "redis")
NAMES = itertools.count()


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@dataclass(kw_only=True)
class Stores:
    """Opens stores of one kind that share what they hold, as gateways do."""

    kind: str
    nats: NatsServer
    valkey: ValkeyServer
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    memory: MemoryStore = field(default_factory=MemoryStore)

    async def open(self) -> LimitStore:
        match self.kind:
            case "memory":
                return self.memory
            case "nats":
                return patient_store(await self._link())
            case _:
                store = RedisStore(self.valkey.url)
                self.stack.push_async_callback(store.close)
                return store

    async def _link(self) -> Link:
        name = f"gateway-{next(NAMES)}"
        options = LinkOptions(servers=(self.nats.url,), name=name, inbox_prefix=f"_INBOX.svc.{name}")
        link = await Link.connect(options)
        self.stack.push_async_callback(link.close)
        specs = [spec for spec in stream_specs() if spec.name == LIMITS]
        await provision({"EDGE": link, "CORE": link}, specs, ())
        return link


@pytest.fixture(params=KINDS)
async def stores(
    request: pytest.FixtureRequest,
    module_nats_server: NatsServer,
    valkey: ValkeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Stores]:
    be_patient(monkeypatch)
    stores = Stores(kind=request.param, nats=module_nats_server, valkey=valkey)
    async with stores.stack:
        yield stores


def owner() -> Owner:
    """Somebody whom no other test knows."""
    return Owner("account", Token(f"account-{next(NAMES)}"))


# --- reading and swapping ----------------------------------------------------------------------------------------


async def test_what_was_put_there_is_read_by_all(stores: Stores) -> None:
    one, other, who = await stores.open(), await stores.open(), owner()
    assert await one.read(who) == NOTHING_STORED
    stored = await one.swap(who, NOTHING_STORED, b"\x00first")
    assert stored is not None
    assert stored.data == b"\x00first"
    assert await other.read(who) == stored == await one.read(who)
    second = await other.swap(who, stored, b"second")
    assert second is not None
    assert (await one.read(who)).data == b"second"


async def test_whoever_was_overtaken_changes_nothing(stores: Stores) -> None:
    one, other, who = await stores.open(), await stores.open(), owner()
    assert await one.swap(who, NOTHING_STORED, b"first") is not None
    assert await other.swap(who, NOTHING_STORED, b"mine") is None
    stale = await one.read(who)
    assert await one.swap(who, stale, b"second") is not None
    assert await other.swap(who, stale, b"mine") is None
    assert (await other.read(who)).data == b"second"


async def test_an_account_and_a_key_of_one_name_are_two(stores: Stores) -> None:
    store, who = await stores.open(), owner()
    assert await store.swap(who, NOTHING_STORED, b"account") is not None
    assert await store.read(Owner("key", who.name)) == NOTHING_STORED


async def test_of_many_changes_at_once_none_is_lost(stores: Stores) -> None:
    who = owner()
    shared = [SharedLimits(await stores.open()) for _ in range(3)]

    def count(data: bytes) -> tuple[bytes, None]:
        return str(int(data or b"0") + 1).encode(), None

    async def change(limits: SharedLimits) -> None:
        stored = NOTHING_STORED
        for _ in range(20):
            stored, _ = await limits.change(who, stored, count)

    await asyncio.gather(*map(change, shared))
    assert (await (await stores.open()).read(who)).data == b"60"


async def test_what_nobody_writes_to_is_forgotten() -> None:
    now_s = 0.0
    store, who, late = MemoryStore(lambda: now_s), owner(), owner()
    stale = await store.swap(who, NOTHING_STORED, b"x")
    assert stale is not None
    now_s = LIMITS_KEPT.total_seconds() - 1
    assert await store.swap(late, NOTHING_STORED, b"y") is not None
    now_s += 1
    assert (await store.read(who), (await store.read(late)).data) == (NOTHING_STORED, b"y")
    assert await store.swap(who, NOTHING_STORED, b"z") is not None
    assert await store.swap(who, stale, b"w") is None


async def test_the_stores_that_outlive_a_gateway_forget_too(
    module_nats_server: NatsServer, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch)
    stores = Stores(kind="redis", nats=module_nats_server, valkey=valkey)
    async with stores.stack:
        store, who = await stores.open(), owner()
        assert await store.swap(who, NOTHING_STORED, b"x") is not None
        assert isinstance(store, RedisStore)
        left_ms = await store._values._client.pttl(f"ig3:limits:account:{who.name}")
    assert 0 < left_ms <= LIMITS_KEPT.total_seconds() * 1000
    assert next(spec for spec in stream_specs() if spec.name == LIMITS).max_age == LIMITS_KEPT


# --- gateways ----------------------------------------------------------------------------------------------------


async def test_two_flooding_gateways_stay_within_the_stated_bound(stores: Stores) -> None:
    limit, who = 600, caller(owner().name)
    gateways = [limiter(await stores.open(), requests_per_minute=limit) for _ in range(2)]
    begun_ms, passed, rounds_refused = now_ms(), [0, 0], [0, 0]

    async def flood(index: int) -> None:
        # Until both have said no for some time: each of them has had what there was, and tried for more.
        while min(rounds_refused) < 20:
            verdicts = await asyncio.gather(*(passes(gateways[index], who) for _ in range(40)))
            passed[index] += sum(verdicts)
            rounds_refused[index] += not all(verdicts)
            await asyncio.sleep(0)

    for gateway in gateways:
        await gateway.start()
    await asyncio.gather(flood(0), flood(1), flood(0), flood(1))
    span_ms = now_ms() - begun_ms
    for gateway in gateways:
        await gateway.stop()
    bound = limit * (MINUTE_MS + span_ms) / MINUTE_MS + len(gateways) * lease_of(limit)
    assert limit - len(gateways) * lease_of(limit) <= sum(passed) <= bound


async def test_tokens_are_shared_as_well(stores: Stores) -> None:
    limit, who = 10_000, caller(owner().name)
    gateways = [limiter(await stores.open(), tokens_per_minute=limit) for _ in range(2)]
    begun_ms = now_ms()
    passed = await asyncio.gather(*(passes(gateways[index % 2], who, tokens=300) for index in range(100)))
    spent = sum(passed) * 300
    span_ms = now_ms() - begun_ms
    assert limit - 2 * 300 - 2 * lease_of(limit) <= spent <= limit * (MINUTE_MS + span_ms) / MINUTE_MS


async def test_streams_are_counted_over_both_and_come_free_at_once(stores: Stores) -> None:
    who = caller(owner().name)
    gateways = [limiter(await stores.open(), concurrent_streams=3) for _ in range(2)]
    for gateway in gateways:
        await gateway.start()
    tickets = [await opened(gateways[index % 2], who) for index in range(4)]
    assert [ticket is not None for ticket in tickets] == [True, True, True, False]
    assert tickets[0] is not None
    tickets[0].close_stream()
    # The place is still kept at the first gateway, and the second waits for it.
    again = await opened(gateways[1], who)
    assert again is not None
    for gateway in gateways:
        await gateway.stop()


async def test_a_gateway_that_stops_leaves_nothing_behind(stores: Stores) -> None:
    limit, who = 6000, caller(owner().name)
    first, second = limiter(await stores.open(), requests_per_minute=limit), await stores.open()
    assert await passes(first, who)
    await first.stop()
    after = limiter(second, requests_per_minute=limit)
    assert await passes(after, who)
    standing = after.meters_of(who)[0].standing("requests")
    assert standing is not None
    # Two were used, and the ninety-nine that the first had taken ahead are back.
    assert limit - 2 <= standing.remaining <= limit


# --- a store that is away ----------------------------------------------------------------------------------------


async def test_a_redis_that_is_away_is_noticed_once_and_asked_again(
    module_nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch)
    monkeypatch.setattr("gateway.limits.store.LEFT_ALONE", timedelta(minutes=10))
    with ValkeyServer() as server:
        stores = Stores(kind="redis", nats=module_nats_server, valkey=server)
        async with stores.stack:
            shared, who = SharedLimits(await stores.open()), owner()
            server.stop()
            with pytest.raises(StoreAway, match="Redis does not answer"):
                await shared.change(who, NOTHING_STORED, lambda data: (b"x", None))
            assert shared.is_away
            with pytest.raises(StoreAway, match="a moment ago"):
                await shared.change(who, NOTHING_STORED, lambda data: (b"x", None))
            server.start()
            shared._away_until_s = 0.0
            await shared.change(who, NOTHING_STORED, lambda data: (b"x", None))
            assert not shared.is_away


async def test_a_redis_that_hangs_holds_nobody_up_for_long(module_nats_server: NatsServer) -> None:
    with ValkeyServer() as server:
        stores = Stores(kind="redis", nats=module_nats_server, valkey=server)
        async with stores.stack:
            gateway, who = limiter(await stores.open(), requests_per_minute=2), caller(owner().name)
            server.freeze()
            async with asyncio.timeout(LIMIT_S):
                assert [await passes(gateway, who) for _ in range(3)] == [True, True, False]


async def test_while_the_store_is_away_each_gateway_keeps_the_limit_for_itself(
    module_nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch)
    with ValkeyServer() as server:
        stores = Stores(kind="redis", nats=module_nats_server, valkey=server)
        async with stores.stack:
            gateways, who = (
                [limiter(await stores.open(), requests_per_minute=5) for _ in range(2)],
                caller(owner().name),
            )
            for gateway in gateways:
                gateway._clock = Time()  # which stands still: else one more is let pass by and by
            assert await passes(gateways[0], who)
            server.stop()
            passed = [[await passes(gateway, who) for _ in range(8)] for gateway in gateways]
            # The first remembers what it has seen; the second has seen nothing.
            assert [sum(each) for each in passed] == [4, 5]
            server.start()
            for gateway in gateways:
                gateway._shared._away_until_s = 0.0
                gateway.meters_of(who)[0].look_again()
            # What was let pass meanwhile is told to the store: nobody begins anew.
            assert [await passes(gateway, who) for gateway in gateways] == [False, False]
            state = (await stores.open()).read(Owner("account", who.account))
            assert (await state).data


async def test_a_mesh_without_the_stream_counts_alone_and_says_so(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    options = LinkOptions(servers=(nats_server.url,), name="g", inbox_prefix="_INBOX.svc.g")
    link = await Link.connect(options)
    gateway, who = limiter(NatsStore(link), requests_per_minute=1), caller("acme")
    assert [await passes(gateway, who) for _ in range(2)] == [True, False]
    assert "the store of limits is away" in caplog.text
    await link.close()


def test_a_url_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(GatewayError, match="redis_url is no URL") as caught:
        RedisStore("http://user:hunter2@somewhere")
    assert "hunter2" not in str(caught.value)


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(GatewayError, match=r"pip install 'ig3-edge-network\[cache\]'"):
        RedisStore("redis://localhost")
