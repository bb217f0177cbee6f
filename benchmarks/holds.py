"""What a hold adds to the acceptance of a task: requests for one token, before anything has a price and with prices.

``python -m benchmarks.holds``. A whole mesh of processes by ``ig3 up`` with the synthetic engine, every stream synced
(``durability power``). A request is timed from its first byte to the last of its answer; the difference is the hold.
"""

import asyncio
import time
from pathlib import Path
from statistics import median, quantiles

import aiohttp
import click

from benchmarks.running_mesh import RunningMesh, running_mesh
from gateway.ledger.books import Books
from gateway.ledger.entries import deposit, set_prices
from mesh.broker.credentials import Credentials
from mesh.bus.service_bus import Bus, BusOptions
from streams.billing_events import PriceRule
from streams.money import NANO_PER_UNIT
from streams.tokens import Token

WARM_UP = 50
REQUESTS = 400
AT_ONCE = (1, 16)
ROUNDS = 3
BODY = {
    "model": "synthetic",
    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    "max_tokens": 1,
}
HEADERS = {"x-ig3-cache": "off"}


def main() -> None:
    """Measure and print."""
    with running_mesh(durability="power") as mesh:
        asyncio.run(_run(mesh))


async def _run(mesh: RunningMesh) -> None:
    url = f"http://127.0.0.1:{mesh.http_port}/v1/chat/completions"
    connector = aiohttp.TCPConnector(limit=max(AT_ONCE))
    async with aiohttp.ClientSession(headers=HEADERS, connector=connector) as session:
        await _until_served(session, url)
        without = {at_once: await _measure(session, url, at_once) for at_once in AT_ONCE}
        await _set_prices(mesh.nats_url, mesh.data_dir)
        await _until_priced(session, mesh.http_port)
        for at_once in AT_ONCE:
            before, after = without[at_once], await _measure(session, url, at_once)
            click.echo(
                f"{at_once:3} at once   without p50 {before[0]:6.2f} ms  p95 {before[1]:6.2f} ms"
                f"   with p50 {after[0]:6.2f} ms  p95 {after[1]:6.2f} ms   a hold adds {after[0] - before[0]:5.2f} ms"
            )


async def _measure(session: aiohttp.ClientSession, url: str, at_once: int) -> tuple[float, float]:
    """Return p50 and p95 in milliseconds: medians over the rounds."""
    await _ask(session, url, WARM_UP, at_once)
    rounds = [await _ask(session, url, REQUESTS, at_once) for _ in range(ROUNDS)]
    return median(median(times) for times in rounds), median(quantiles(times, n=20)[-1] for times in rounds)


async def _ask(session: aiohttp.ClientSession, url: str, requests: int, at_once: int) -> list[float]:
    times: list[float] = []
    left = iter(range(requests))

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


async def _until_served(session: aiohttp.ClientSession, url: str) -> None:
    async with session.post(url, json=BODY) as answer:
        answer.raise_for_status()


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
