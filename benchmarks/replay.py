"""How long a projection of a million events takes from the first event, and from a snapshot: no test, numbers to read.

python -m benchmarks.replay [--events 1000000]
"""

import argparse
import asyncio
import json
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec

from mesh.broker.files import BrokerOptions
from mesh.broker.server import EmbeddedServer
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.config.address import Address
from mesh.history.replay import replay
from mesh.history.snapshots import SnapshotStore
from streams.codec import decode_task_event, encode
from streams.events import TaskChunk

STREAM = "BENCH"
WRITERS = 256
TAIL = 1000


class Measured(NamedTuple):
    wall_s: float
    cpu_s: float
    loaded_sequence: int


class Tokens:
    """Completion tokens per task: decodes every event, as a real projection does."""

    name = "tokens"
    version = 1

    def __init__(self) -> None:
        self.tokens: dict[str, int] = {}

    def apply(self, sequence: int, subject: str, data: bytes) -> None:
        event = decode_task_event(data)
        if isinstance(event, TaskChunk):
            self.tokens[subject] = self.tokens.get(subject, 0) + event.tokens

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(self.tokens)

    def load(self, data: bytes) -> None:
        self.tokens = msgspec.msgpack.decode(data, type=dict[str, int])


async def fill(link: Link, count: int, tasks: int) -> None:
    body = encode(TaskChunk(n=2, attempt=1, offset=100, text="some text of an answer", tokens=5))
    numbers = iter(range(count))

    async def write() -> None:
        for number in numbers:
            await link.append(f"bench.{number % tasks}", body, timeout=timedelta(seconds=60))

    await asyncio.gather(*(write() for _ in range(WRITERS)))


async def measure(link: Link, store: SnapshotStore | None) -> Measured:
    begun, begun_cpu = time.perf_counter(), time.process_time()
    async with await replay(link, STREAM, Tokens(), snapshots=store) as done:
        spent = time.perf_counter() - begun, time.process_time() - begun_cpu
        return Measured(wall_s=spent[0], cpu_s=spent[1], loaded_sequence=done.loaded_sequence)


async def run(events: int, folder: Path) -> None:
    options = BrokerOptions(data_dir=folder, listen=Address("127.0.0.1", 0), durability="process")
    async with EmbeddedServer(options) as server:
        seed = server.credentials.edge_service.seed_path
        link = await Link.connect(
            LinkOptions(servers=(server.url,), name="bench", inbox_prefix="_INBOX.bench", seed_file=seed)
        )
        config = {"name": STREAM, "subjects": ["bench.*"], "storage": "file", "allow_direct": True}
        await link.request(f"$JS.API.STREAM.CREATE.{STREAM}", json.dumps(config).encode())
        begun = time.perf_counter()
        await fill(link, events, tasks=max(1, events // 50))
        print(f"wrote {events:,} events in {time.perf_counter() - begun:.1f} s (durability: process)")
        store = SnapshotStore(folder / "snapshots")
        full = await measure(link, None)
        print(f"from the first event:       {full.wall_s:6.2f} s, {events / full.wall_s:,.0f} events/s")
        print(f"  of this process's CPU:    {full.cpu_s:6.2f} s, {full.cpu_s / events * 1e6:.1f} us per event")
        print(f"the same, and a snapshot:   {(await measure(link, store)).wall_s:6.2f} s")
        await fill(link, TAIL, tasks=10)
        tail = await measure(link, store)
        size = sum(path.stat().st_size for path in (folder / "snapshots").iterdir()) / 1e6
        begin = f"from the snapshot at {tail.loaded_sequence:,} and {TAIL:,} more:"
        print(f"{begin} {tail.wall_s:.2f} s, {size:.1f} MB on disk")
        await link.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(events, Path(folder)))


if __name__ == "__main__":
    main()
