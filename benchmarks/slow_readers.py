"""Whether readers that take nothing slow the others: the others' waits, with and without, by turns in one run.

A mesh of real processes with the synthetic engine and one gateway. Some streams are read all the time, and only their
waits from one piece to the next are counted. Beside them as many others are opened in each turn, for answers so large
that the kernel cannot take them: in one turn all of them are read, in the next one half of them not at all and the
other half a byte a second. So both turns have the same tasks, and what else the machine does falls on both.

python -m benchmarks.slow_readers [--others 150] [--slow 50] [--turns 5]
"""

import argparse
import asyncio
import contextlib
import time
import urllib.request
from collections.abc import AsyncIterator
from statistics import median, quantiles
from typing import NamedTuple

from benchmarks.measured import resident_bytes
from benchmarks.running_mesh import RunningMesh, running_mesh
from benchmarks.streams import ECHOED_CHARACTERS, LITTLE, SETTINGS, SLOTS, Reader, open_readers, request

EVERY_MS = 200
"""From one token to the next."""
TOKENS = 5000
SETTLE_S = 4.0
"""Between the asking and the counting: reading so large a question is work as well, and not what is looked for."""
WATCHED_S = 8.0


class Waits(NamedTuple):
    """What the others waited in one turn, in milliseconds, and the gateway's memory."""

    p50: float
    p99: float
    megabytes: float


@contextlib.asynccontextmanager
async def beside(port: int, count: int, *, is_slow: bool) -> AsyncIterator[None]:
    """Have ``count`` more streams open, that are read or not."""
    asked = request(port, "/v1/completions", prompt="x" * ECHOED_CHARACTERS, echo=True, max_tokens=TOKENS)
    connections: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[None]] = []
    for number in range(count):
        stream, writer = await asyncio.open_connection("127.0.0.1", port, limit=LITTLE)
        writer.write(asked)
        await writer.drain()
        connections.append(writer)
        if not is_slow:
            tasks.append(asyncio.create_task(_read(stream)))
        elif number % 2:
            tasks.append(asyncio.create_task(_trickle(stream)))
    await asyncio.sleep(SETTLE_S)
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for writer in connections:
        writer.transport.abort()
    # Their tasks are cancelled, as the gateway is asked to where a client hangs up.
    await asyncio.sleep(SETTLE_S)


async def _read(stream: asyncio.StreamReader) -> None:
    while await stream.read(1 << 20):
        pass


async def _trickle(stream: asyncio.StreamReader) -> None:
    while True:
        if not await stream.read(1):
            return
        await asyncio.sleep(1)


async def turn(mesh: RunningMesh, readers: list[Reader], slow: int, *, is_slow: bool) -> Waits:
    async with beside(mesh.http_port, slow, is_slow=is_slow):
        for reader in readers:
            reader.gaps_s.clear()
        await asyncio.sleep(WATCHED_S)
        gaps_ms = [gap * 1e3 for reader in readers for gap in reader.gaps_s]
        megabytes = resident_bytes(mesh.pids["gateway"]) / 1e6
    return Waits(median(gaps_ms), quantiles(gaps_ms, n=100)[98], megabytes)


async def measure(mesh: RunningMesh, others: int, slow: int, turns: int) -> None:
    found: dict[bool, list[Waits]] = {False: [], True: []}
    async with open_readers(mesh.http_port, others, tokens=TOKENS) as readers:
        for number in range(turns):
            for is_slow in (False, True) if number % 2 else (True, False):
                found[is_slow].append(await turn(mesh, readers, slow, is_slow=is_slow))
    for is_slow, name in ((False, f"and {slow} that read"), (True, f"and {slow} that do not")):
        p50, p99, megabytes = (median(values) for values in zip(*found[is_slow], strict=True))
        print(f"{others} streams {name:20} p50 {p50:4.0f} ms, p99 {p99:5.0f} ms; gateway {megabytes:.0f} MB")
    ratios = [with_slow.p99 / without.p99 for without, with_slow in zip(found[False], found[True], strict=True)]
    print(f"p99 with, by p99 without: median {median(ratios):.2f} of {', '.join(f'{each:.2f}' for each in ratios)}")


def _await_served(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as answer:
            if b'"synthetic"' in answer.read():
                return
        time.sleep(0.1)
    raise RuntimeError("the node did not come up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", type=int, default=150)
    parser.add_argument("--slow", type=int, default=50)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    settings = {**SETTINGS, "IG3_ON_DISCONNECT": "cancel"}
    with running_mesh(durability="process", token_delay_ms=EVERY_MS, slots=SLOTS, variables=settings) as mesh:
        _await_served(mesh.http_port)
        asyncio.run(measure(mesh, given.others, given.slow, given.turns))


if __name__ == "__main__":
    main()
