"""A thousand open streams in one gateway process, and readers that take nothing beside them: no test, numbers to read.

A mesh of real processes with the synthetic engine. What is printed is the gateway's memory, and how long the others
wait from one piece of their answers to the next, before and after some clients stop reading in the middle of much text.

python -m benchmarks.streams [--streams 1000] [--stuck 20]
"""

import argparse
import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from statistics import median, quantiles

from benchmarks.measured import cost_of, resident_bytes
from benchmarks.running_mesh import RunningMesh, running_mesh

EVERY_MS = 2000
"""From one token to the next."""
TOKENS = 600
WATCHED_S = 20.0
PATIENCE_S = 60.0
ECHOED_CHARACTERS = 400_000
"""What a reader that does not read would get at once: more than the kernel keeps for it."""
NODES = 5
SETTINGS = {"IG3_OPEN_LIMIT": "2000", "IG3_ACCOUNT_LIMIT": "1024"}
"""All of them are one account's."""
SLOTS = 256
AT_ONCE = 100
LITTLE = 4096


@dataclass(kw_only=True)
class Reader:
    """One open stream, and when its latest piece came."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    at_s: float = 0.0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    gaps_s: list[float] = field(default_factory=list)

    async def read(self) -> None:
        """Take pieces for ever."""
        latest = b""
        async for line in self.reader:
            latest = line if line.strip() else latest
            if b'"content":"' not in line or b'"content":""' in line:
                if line.startswith(b"HTTP/") and b" 200 " not in line:
                    rest = (await self.reader.readuntil(b"}}")).decode()
                    raise RuntimeError(f"a stream was not served: {line.decode()}{rest}")
                continue
            now = time.perf_counter()
            if self.at_s:
                self.gaps_s.append(now - self.at_s)
            self.at_s = now
            self.begun.set()
        raise RuntimeError(f"a stream ended while it was watched, with {latest.decode().strip()}")


def request(port: int, path: str, **body: object) -> bytes:
    content = json.dumps({"model": "synthetic", "max_tokens": TOKENS, "stream": True, **body}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@contextlib.asynccontextmanager
async def open_readers(port: int, count: int, *, tokens: int = TOKENS) -> AsyncIterator[list[Reader]]:
    """Open streams and read them, until each has its first piece and on."""
    question = [{"role": "user", "content": "Why is the sky blue?"}]
    asked = request(port, "/v1/chat/completions", messages=question, max_tokens=tokens)
    async with asyncio.TaskGroup() as group:
        readers: list[Reader] = []
        tasks: list[asyncio.Task[None]] = []
        while len(readers) < count:
            # A burst of all at once would be refused: queues have an end.
            for _ in range(min(AT_ONCE, count - len(readers))):
                stream, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(asked)
                readers.append(Reader(reader=stream, writer=writer))
                tasks.append(group.create_task(readers[-1].read()))
            waiting = [asyncio.ensure_future(reader.begun.wait()) for reader in readers]
            late = (await asyncio.wait(waiting, timeout=PATIENCE_S))[1]
            if late:
                raise RuntimeError(f"{len(late)} of {len(readers)} streams had no first piece after {PATIENCE_S} s")
        yield readers
        for task in tasks:
            task.cancel()


async def open_stuck(port: int, count: int) -> list[asyncio.StreamWriter]:
    """Ask for much text and never read it."""
    asked = request(port, "/v1/completions", prompt="x" * ECHOED_CHARACTERS, echo=True)
    writers: list[asyncio.StreamWriter] = []
    for _ in range(count):
        stream, writer = await asyncio.open_connection("127.0.0.1", port, limit=LITTLE)
        writer.write(asked)
        await writer.drain()
        # So little is taken that the rest must wait at the gateway.
        await stream.read(LITTLE)
        writers.append(writer)
    return writers


async def watch(mesh: RunningMesh, readers: list[Reader], name: str) -> None:
    """Look for a while, and print."""
    for reader in readers:
        reader.gaps_s.clear()
    gateway = [mesh.pids["gateway"]]
    before = cost_of(gateway).cpu_s
    await asyncio.sleep(WATCHED_S)
    gaps_ms = [gap * 1e3 for reader in readers for gap in reader.gaps_s]
    high = quantiles(gaps_ms, n=100)[98]
    share = (cost_of(gateway).cpu_s - before) / WATCHED_S
    print(
        f"{name:34} gateway {resident_bytes(gateway[0]) / 1e6:6.1f} MB, {share:4.0%} of a core;  from piece to piece"
        f" p50 {median(gaps_ms):4.0f} ms, p99 {high:4.0f} ms, longest {max(gaps_ms):5.0f} ms ({len(gaps_ms)} pieces)"
    )


def await_nodes(port: int) -> None:
    """Wait until every node serves."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as answer:
            if any(model["slots"] == NODES * SLOTS for model in json.load(answer)["data"]):
                return
        time.sleep(0.1)
    raise RuntimeError("the nodes did not come up")


async def measure(mesh: RunningMesh, streams: int, stuck: int) -> None:
    print(f"{'no stream':34} gateway {resident_bytes(mesh.pids['gateway']) / 1e6:6.1f} MB")
    async with open_readers(mesh.http_port, streams) as readers:
        await watch(mesh, readers, f"{streams} streams")
        asked = asyncio.create_task(open_stuck(mesh.http_port, stuck))
        await watch(mesh, readers, f"and {stuck} that ask for much")
        await watch(mesh, readers, f"and {stuck} that do not read on")
        for writer in await asked:
            writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--stuck", type=int, default=20)
    parser.add_argument("--durability", choices=("power", "process"), default="process")
    given = parser.parse_args()
    with running_mesh(
        durability=given.durability, token_delay_ms=EVERY_MS, slots=SLOTS, nodes=NODES, variables=SETTINGS
    ) as mesh:
        await_nodes(mesh.http_port)
        asyncio.run(measure(mesh, given.streams, given.stuck))


if __name__ == "__main__":
    main()
