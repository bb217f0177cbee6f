"""A load generator that costs little itself: HTTP/1.1 on asyncio streams, keep-alive, no client library.

It parses just what this gateway and the floors send: ``Content-Length`` or chunked bodies, and SSE lines.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from statistics import median, quantiles

PATH = "/v1/chat/completions"


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to send, and what."""

    host: str
    port: int
    model: str = "synthetic"
    max_tokens: int = 1
    stream: bool = False


@dataclass(kw_only=True)
class Timings:
    """What one run saw, in seconds."""

    requests_s: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)
    tokens: int = 0
    failures: int = 0
    wall_s: float = 0.0

    @property
    def p50_ms(self) -> float:
        """Median time of a request."""
        return median(self.requests_s) * 1e3

    def first_token_ms(self, percent: int) -> float:
        """A percentile of the time to the first token."""
        return quantiles(self.first_token_s, n=100)[percent - 1] * 1e3

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.requests_s) / self.wall_s


class Connection:
    """One keep-alive connection."""

    def __init__(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._request = _request(target)

    @classmethod
    async def open(cls, target: Target) -> "Connection":
        reader, writer = await asyncio.open_connection(target.host, target.port)
        return cls(target, reader, writer)

    async def ask(self, timings: Timings) -> None:
        """Send one request and read its whole answer."""
        started = time.perf_counter()
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            timings.failures += 1
        if b"content-length" in head.lower():
            await self._reader.readexactly(_content_length(head))
        else:
            await self._read_chunks(timings, started)
        timings.requests_s.append(time.perf_counter() - started)

    async def _read_chunks(self, timings: Timings, started: float) -> None:
        is_first = True
        while True:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            chunk = await self._reader.readexactly(size + 2)
            if size == 0:
                return
            tokens = chunk.count(b'"content":"') - chunk.count(b'"content":""')
            if tokens and is_first:
                timings.first_token_s.append(time.perf_counter() - started)
                is_first = False
            timings.tokens += tokens

    def close(self) -> None:
        self._writer.close()


async def closed_loop(target: Target, *, connections: int, requests: int) -> Timings:
    """Send ``requests`` in all over some connections, each asking again as soon as it has its answer."""
    timings = Timings()
    open_ones = [await Connection.open(target) for _ in range(connections)]
    left = iter(range(requests))

    async def worker(connection: Connection) -> None:
        for _ in left:
            await connection.ask(timings)

    started = time.perf_counter()
    await asyncio.gather(*(worker(connection) for connection in open_ones))
    timings.wall_s = time.perf_counter() - started
    for connection in open_ones:
        connection.close()
    return timings


async def open_loop(target: Target, *, per_s: float, seconds: float) -> Timings:
    """Send at a fixed rate whatever comes back, each request on a connection of its own."""
    timings = Timings()
    tasks: list[asyncio.Task[None]] = []

    async def one() -> None:
        connection = await Connection.open(target)
        await connection.ask(timings)
        connection.close()

    started = time.perf_counter()
    for index in range(round(per_s * seconds)):
        await asyncio.sleep(max(0.0, started + index / per_s - time.perf_counter()))
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    timings.wall_s = time.perf_counter() - started
    return timings


def _request(target: Target) -> bytes:
    body = json.dumps(
        {
            "model": target.model,
            "messages": [{"role": "user", "content": "Why is the sky blue?"}],
            "max_tokens": target.max_tokens,
            "stream": target.stream,
        }
    ).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _content_length(head: bytes) -> int:
    lower = head.lower()
    start = lower.index(b"content-length:") + len(b"content-length:")
    return int(lower[start : lower.index(b"\r\n", start)])
