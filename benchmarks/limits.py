"""What limits cost a request: CPU of the gateway and of the store's server, and the wait, with each store.

``python -m benchmarks.limits``. *In hand*: one busy account, whose gateway takes a second's worth ahead. *Asked each
time*: every request is the first of another account, so each asks the store.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from statistics import median

import click

from benchmarks.measured import cost_of
from gateway.limits.limiter import Limiter
from gateway.limits.memory_store import MemoryStore
from gateway.limits.nats_store import NatsStore
from gateway.limits.redis_store import RedisStore
from gateway.limits.rules import LimitRules
from gateway.limits.store import LimitStore
from gateway.limits.ticket import Price
from mesh.access.caller import Caller
from mesh.broker.files import BrokerOptions, Durability
from mesh.broker.server import EmbeddedServer
from mesh.bus.provision import provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.address import Address
from streams.access.limits import NO_LIMITS, Limits
from streams.tokens import Token
from streams.topology import stream_specs
from tests.valkey_server import ValkeyServer

ROUNDS = 3
IN_HAND = 5000
ASKED = 2000
PRICE = Price(prompt=100, answer=100)
LIMITS = Limits(requests_per_minute=10_000_000, tokens_per_minute=1_000_000_000, concurrent_streams=1_000_000)

Place = tuple[LimitStore, list[int]]
"""A store, and the processes behind it."""


def main() -> None:
    """Run everything and print it."""
    asyncio.run(_run())


async def _run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        await _compare("no limits", _memory(), NO_LIMITS)
        await _compare("memory", _memory(), LIMITS)
        for durability in ("process", "power"):
            await _compare(f"NATS ({durability})", _nats(Path(folder) / durability, durability), LIMITS)
        await _compare("Redis", _redis(), LIMITS)


@asynccontextmanager
async def _memory() -> AsyncIterator[Place]:
    yield MemoryStore(), []


@asynccontextmanager
async def _nats(folder: Path, durability: Durability) -> AsyncIterator[Place]:
    options = BrokerOptions(data_dir=folder, listen=Address("127.0.0.1", 0), durability=durability)
    async with EmbeddedServer(options) as server:
        credentials = server.credentials
        bus_options = BusOptions(
            servers=(server.url,),
            name="limits-benchmark",
            edge_seed=credentials.edge_service.seed_path,
            core_seed=credentials.core_service.seed_path,
        )
        async with await Bus.connect(bus_options) as bus:
            await provision(bus.links, stream_specs(), ())
            yield NatsStore(bus.core), [] if server.pid is None else [server.pid]


@asynccontextmanager
async def _redis() -> AsyncIterator[Place]:
    with ValkeyServer() as server:
        yield RedisStore(server.url), [server.pid]


async def _compare(name: str, place: AbstractAsyncContextManager[Place], limits: Limits) -> None:
    async with place as (store, pids):
        limiter = Limiter(store, LimitRules(usual=limits))
        await limiter.start()
        for what, requests, fresh in (("in hand", IN_HAND, False), ("asked each time", ASKED, True)):
            rounds = [await _measure(limiter, pids, requests, fresh=fresh) for _ in range(ROUNDS)]
            own_us, servers_us, wait_us = (median(part) for part in zip(*rounds, strict=True))
            line = f"gateway {own_us:6.1f} us CPU   server {servers_us:6.1f} us CPU   wait {wait_us:7.1f} us"
            click.echo(f"{name:<16} {what:<16} {line}")
        await limiter.stop()


async def _measure(limiter: Limiter, pids: list[int], requests: int, *, fresh: bool) -> tuple[float, float, float]:
    names = [Token(f"account-{time.time_ns()}-{number}" if fresh else "busy") for number in range(requests)]
    callers = [Caller(account=name, how="key", rights=frozenset({"chat"})) for name in names]
    begun, cpu, servers = time.perf_counter(), time.process_time(), cost_of(pids).cpu_s
    for caller in callers:
        with limiter.ticket(caller) as ticket:
            await ticket.pay(lambda: PRICE, stream=True)
    spent = time.process_time() - cpu, cost_of(pids).cpu_s - servers, time.perf_counter() - begun
    own_us, servers_us, wait_us = (part / requests * 1e6 for part in spent)
    return own_us, servers_us, wait_us


if __name__ == "__main__":
    main()
