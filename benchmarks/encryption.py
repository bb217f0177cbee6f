"""What encrypted streams cost: synced appends of a chunk's size, with each cipher and without, interleaved."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from benchmarks.measured import cost_of
from mesh.broker.files import BrokerOptions
from mesh.broker.server import EmbeddedServer
from mesh.broker.store_cipher import StoreCipher
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.provision import provision
from mesh.config.address import Address
from streams import subjects
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import token
from streams.topology import stream_specs

CIPHERS: tuple[StoreCipher, ...] = ("off", "aes", "chachapoly")
ROUNDS = 3
ALONE = 1_000
TOGETHER = 20_000
IN_FLIGHT = 256
BODY = b"x" * 400


async def main(folder: Path) -> None:
    """Run each cipher in turn, several times."""
    for number in range(ROUNDS):
        for cipher in CIPHERS:
            await _measure(folder / f"{number}-{cipher}", cipher)


async def _measure(folder: Path, cipher: StoreCipher) -> None:
    folder.mkdir()
    options = BrokerOptions(data_dir=folder, listen=Address("127.0.0.1", 0), encrypt_store=cipher)
    async with EmbeddedServer(options) as server:
        seed = server.credentials.edge_service.seed_path
        link = await Link.connect(
            LinkOptions(servers=(server.url,), name="bench", inbox_prefix="_INBOX.svc.bench", seed_file=seed)
        )
        await provision({"EDGE": link}, [spec for spec in stream_specs() if spec.account == "EDGE"], ())
        assert server.pid is not None
        alone_ms = [await _append(link) * 1000 for _ in range(ALONE)]
        before, began = cost_of([server.pid]).cpu_s, time.perf_counter()
        left = iter(range(TOGETHER))
        await asyncio.gather(*(_appends(link, left) for _ in range(IN_FLIGHT)))
        rate = TOGETHER / (time.perf_counter() - began)
        cpu_us = (cost_of([server.pid]).cpu_s - before) / TOGETHER * 1e6
        await link.close()
    print(f"{cipher:11} one p50 {statistics.median(alone_ms):.2f} ms   {IN_FLIGHT} in flight {rate:6.0f}/s", end="   ")
    print(f"nats-server {cpu_us:.0f} us CPU each")


async def _appends(link: Link, left: Iterator[int]) -> None:
    for _ in left:
        await _append(link)


async def _append(link: Link) -> float:
    key = TaskKey(token("bench"), new_task_id())
    began = time.perf_counter()
    await link.append(subjects.result(key, token("n1")), BODY)
    return time.perf_counter() - began


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as where:
        uvloop.run(main(Path(where)))
