"""What a hold adds to the acceptance of a task: the same requests to a mesh with prices and to one without, in turn.

``python -m benchmarks.holds``. Two whole meshes of processes by ``ig3 up`` with the synthetic engine, every stream
synced (``durability power``), in one run: a block of requests to the one, then to the other, so that what else the
machine does falls on both. A request for one token is timed from its first byte to the last of its answer.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import aiohttp
import click

from benchmarks.running_mesh import RunningMesh, running_mesh
from gateway.ledger.books import Books
from gateway.ledger.entries import deposit, set_prices
from mesh.broker.credentials import Credentials
from mesh.bus.service_bus import Bus, BusOptions
from streams.billing.events import PriceRule
from streams.billing.money import NANO_PER_UNIT
from streams.tokens import Token

AT_ONCE = (1, 16)
BLOCK = 40
"""Requests to one mesh before it is the other's turn."""
BODY = {
    "model": "synthetic",
    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    "max_tokens": 1,
}
HEADERS = {"x-ig3-cache": "off"}


class Pair(NamedTuple):
    """The medians of two blocks that followed each other, in milliseconds."""

    without: float
    priced: float


@click.command()
@click.option("--pairs", default=40, help="How many times each mesh has its turn.")
def main(pairs: int) -> None:
    """Measure and print."""
    with ExitStack() as stack:
        without, priced = (stack.enter_context(running_mesh(durability="power")) for _ in range(2))
        asyncio.run(_run(without, priced, pairs))


async def _run(without: RunningMesh, priced: RunningMesh, pairs: int) -> None:
    connector = aiohttp.TCPConnector(limit=2 * max(AT_ONCE))
    async with aiohttp.ClientSession(headers=HEADERS, connector=connector) as session:
        for mesh in (without, priced):
            await _until_served(session, mesh.http_port)
        await _set_prices(priced.nats_url, priced.data_dir)
        await _until_priced(session, priced.http_port)
        for at_once in AT_ONCE:
            found = [pair async for pair in _pairs(session, without, priced, pairs, at_once)]
            _print(at_once, found)


async def _pairs(
    session: aiohttp.ClientSession, without: RunningMesh, priced: RunningMesh, pairs: int, at_once: int
) -> AsyncIterator[Pair]:
    for mesh in (without, priced):
        await _block(session, mesh, at_once)
    for number in range(pairs):
        # Each goes first as often as the other.
        order = (without, priced) if number % 2 else (priced, without)
        times = {mesh.http_port: median(await _block(session, mesh, at_once)) for mesh in order}
        yield Pair(times[without.http_port], times[priced.http_port])


def _print(at_once: int, pairs: list[Pair]) -> None:
    added = [pair.priced - pair.without for pair in pairs]
    low, _, high = quantiles(added, n=4)
    click.echo(
        f"{at_once:3} at once   p50 without {median(pair.without for pair in pairs):6.2f} ms"
        f"   with {median(pair.priced for pair in pairs):6.2f} ms"
        f"   a hold adds {median(added):5.2f} ms (quartiles {low:.2f} and {high:.2f}, {len(pairs)} pairs)"
    )


async def _block(session: aiohttp.ClientSession, mesh: RunningMesh, at_once: int) -> list[float]:
    url = f"http://127.0.0.1:{mesh.http_port}/v1/chat/completions"
    times: list[float] = []
    left: Iterator[int] = iter(range(BLOCK * at_once))

    async def one_after_the_other() -> None:
        for _ in left:
            begun = time.perf_counter()
            async with session.post(url, json=BODY) as answer:
                answer.raise_for_status()
                await answer.read()
            times.append((time.perf_counter() - begun) * 1000)

    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
    return times


async def _set_prices(nats_url: str, data_dir: Path) -> None:
    edge, core = Credentials.load_some(data_dir, "edge-service", "core-service")
    options = BusOptions(servers=(nats_url,), name="bench", edge_seed=edge.seed_path, core_seed=core.seed_path)
    async with await Bus.connect(options) as bus:
        books = Books(bus.core)
        await books.start()
        rules = (PriceRule(model="*", prompt=10, completion=100),)
        await deposit(books, Token("local"), 1_000_000 * NANO_PER_UNIT, "EUR", reference="benchmark", by="benchmark")
        await set_prices(books, currency="EUR", rules=rules, fee_ppm=0, cached_answer_ppm=0, after_ms=0, by="benchmark")
        await books.stop()


async def _until_served(session: aiohttp.ClientSession, http_port: int) -> None:
    while True:
        async with session.get(f"http://127.0.0.1:{http_port}/v1/models/synthetic") as answer:
            if answer.status == HTTPStatus.OK:
                return
        await asyncio.sleep(0.1)


async def _until_priced(session: aiohttp.ClientSession, http_port: int) -> None:
    """Wait until the ledger shows the list, and longer than a dispatcher takes to hear of it."""
    while True:
        async with session.get(f"http://127.0.0.1:{http_port}/v1/models/synthetic") as answer:
            if "pricing" in await answer.json():
                break
        await asyncio.sleep(0.5)
    await asyncio.sleep(6)


if __name__ == "__main__":
    main()
