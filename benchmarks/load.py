"""A load generator that costs little itself: HTTP/1.1 on asyncio streams, keep-alive, no client library.

It parses just what this gateway and the floors send: ``Content-Length`` or chunked bodies, and SSE lines. An answer
that fails ends the run: a refusal is quick and cheap, so figures with one in them say nothing.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

PATH = "/v1/chat/completions"
_DONE = b"data: [DONE]"
_ERROR = b'data: {"error"'
_LOOK_S = 0.05


class AnswerFailed(RuntimeError):
    """An answer was refused, or did not come whole."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to send, and what."""

    host: str
    port: int
    model: str = "synthetic"
    max_tokens: int = 1
    stream: bool = False
    authorization: str = ""


@dataclass(kw_only=True)
class Timings:
    """What one run saw, in seconds."""

    requests_s: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)
    tokens: int = 0
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
        """Send one request and read its whole answer.

        Raises:
            AnswerFailed: by its status, by an error event inside a stream, or by a stream that ends too early.
        """
        started = time.perf_counter()
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise AnswerFailed(f"a request was not served: {head.decode().splitlines()[0]}")
        if b"content-length" in head.lower():
            await self._reader.readexactly(_content_length(head))
        else:
            await self._read_chunks(timings, started)
        timings.requests_s.append(time.perf_counter() - started)

    async def _read_chunks(self, timings: Timings, started: float) -> None:
        is_first, is_whole = True, False
        while True:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            chunk = await self._reader.readexactly(size + 2)
            if size == 0:
                break
            if (error := chunk.find(_ERROR)) >= 0:
                raise AnswerFailed(f"a stream ended with an error: {chunk[error:].decode().strip()}")
            is_whole = is_whole or _DONE in chunk
            tokens = chunk.count(b'"content":"') - chunk.count(b'"content":""')
            if tokens and is_first:
                timings.first_token_s.append(time.perf_counter() - started)
                is_first = False
            timings.tokens += tokens
        if not is_whole:
            raise AnswerFailed("a stream ended without its last event")

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def closed_loop(target: Target, *, connections: int, requests: int) -> Timings:
    """Send ``requests`` in all over some connections, each asking again as soon as it has its answer.

    Raises:
        AnswerFailed: if one of them fails.
    """
    timings = Timings()
    left = iter(range(requests))

    async def worker(connection: Connection) -> None:
        for _ in left:
            await connection.ask(timings)

    async with _connections(target, connections) as open_ones:
        started = time.perf_counter()
        async with _at_once() as tasks:
            tasks.extend(asyncio.create_task(worker(connection)) for connection in open_ones)
        timings.wall_s = time.perf_counter() - started
    return timings


async def open_loop(target: Target, *, per_s: float, seconds: float) -> Timings:
    """Send at a fixed rate however long the answers take, each request on a connection of its own.

    Raises:
        AnswerFailed: if one of them fails.
    """
    timings = Timings()

    async def one() -> None:
        async with _connections(target, 1) as (connection,):
            await connection.ask(timings)

    started = time.perf_counter()
    async with _at_once() as tasks:
        for index in range(round(per_s * seconds)):
            await asyncio.sleep(max(0.0, started + index / per_s - time.perf_counter()))
            tasks.append(asyncio.create_task(one()))
    timings.wall_s = time.perf_counter() - started
    return timings


async def hold_streams(target: Target, count: int, look: Callable[[], int], *, patience_s: float) -> tuple[int, int]:
    """Open ``count`` streams and look when each has its first token and none its last; returns that before and then.

    Raises:
        AnswerFailed: if one of them fails, has no token in time, or ended before the last one began.
    """
    before, timings = look(), Timings()
    async with _connections(target, count) as open_ones, _at_once() as tasks:
        tasks.extend(asyncio.create_task(connection.ask(timings)) for connection in open_ones)
        await _all_begun(timings, tasks, patience_s)
        held = look()
        if timings.requests_s:
            raise AnswerFailed(f"{len(timings.requests_s)} of {count} streams were over before the last one had begun")
    return before, held


async def _all_begun(timings: Timings, tasks: Sequence[asyncio.Task[None]], patience_s: float) -> None:
    deadline = time.perf_counter() + patience_s
    while (begun := len(timings.first_token_s)) < len(tasks):
        for task in tasks:
            if task.done():
                task.result()
        if time.perf_counter() > deadline:
            raise AnswerFailed(f"only {begun} of {len(tasks)} streams had begun in {patience_s} s")
        await asyncio.sleep(_LOOK_S)


@contextlib.asynccontextmanager
async def _connections(target: Target, count: int) -> AsyncIterator[list[Connection]]:
    open_ones = [await Connection.open(target) for _ in range(count)]
    try:
        yield open_ones
    finally:
        for connection in open_ones:
            await connection.close()


@contextlib.asynccontextmanager
async def _at_once() -> AsyncIterator[list[asyncio.Task[None]]]:
    """Wait for the tasks that are put into the list; the first that fails ends the others."""
    tasks: list[asyncio.Task[None]] = []
    try:
        yield tasks
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
        f"Content-Length: {len(body)}\r\n"
    )
    if target.authorization:
        head += f"Authorization: {target.authorization}\r\n"
    head += "\r\n"
    return head.encode() + body


def _content_length(head: bytes) -> int:
    lower = head.lower()
    start = lower.index(b"content-length:") + len(b"content-length:")
    return int(lower[start : lower.index(b"\r\n", start)])
