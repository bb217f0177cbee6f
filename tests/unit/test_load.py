"""The load generator of the benchmarks: an answer that fails ends the run instead of making it look quick."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence

import pytest

from benchmarks.load import AnswerFailed, Target, closed_loop, hold_streams, open_loop

TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
PAUSE = b""
ERROR = b'data: {"error":{"message":"The node is gone.","code":"node_lost"}}\n\n'


def plain(status: str) -> list[bytes]:
    return [f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}".encode()]


def stream(*events: bytes) -> list[bytes]:
    chunks = [f"{len(event):x}\r\n".encode() + event + b"\r\n" if event else PAUSE for event in events]
    return [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n"]


class Answers:
    """A server whose every request gets the next of the given answers; a pause lasts until ``go_on`` is set."""

    def __init__(self) -> None:
        self.script: Sequence[Sequence[bytes]] = ()
        self.go_on = asyncio.Event()
        self._numbers = itertools.count()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The client ends it by closing the connection.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
                for part in self.script[next(self._numbers) % len(self.script)]:
                    writer.write(part)
                    if part == PAUSE:
                        await self.go_on.wait()


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
async def target(answers: Answers) -> AsyncIterator[Target]:
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(answers.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield Target(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    answers.go_on.set()
    server.close()
    await asyncio.gather(*serving)


async def test_answers_are_timed_and_their_tokens_counted(answers: Answers, target: Target) -> None:
    answers.script = [plain("200 OK"), stream(TOKEN, TOKEN, DONE)]
    timings = await closed_loop(target, connections=2, requests=6)
    assert (len(timings.requests_s), len(timings.first_token_s), timings.tokens) == (6, 3, 6)


@pytest.mark.parametrize(
    ("failed", "reason"),
    [
        (plain("503 Service Unavailable"), "HTTP/1.1 503"),
        (stream(TOKEN, ERROR), "node_lost"),
        (stream(TOKEN), "without its last event"),
    ],
    ids=["refused", "broken off", "cut short"],
)
async def test_one_answer_that_fails_ends_every_kind_of_run(
    answers: Answers, target: Target, failed: list[bytes], reason: str
) -> None:
    answers.script = [stream(TOKEN, DONE), failed]
    with pytest.raises(AnswerFailed, match=reason):
        await closed_loop(target, connections=1, requests=4)
    with pytest.raises(AnswerFailed, match=reason):
        await open_loop(target, per_s=1000, seconds=0.004)
    answers.script = [stream(TOKEN, PAUSE, DONE), failed]
    with pytest.raises(AnswerFailed, match=reason):
        await hold_streams(target, 2, int, patience_s=20)


async def test_streams_are_looked_at_when_all_have_begun_and_none_has_ended(answers: Answers, target: Target) -> None:
    answers.script = [stream(TOKEN, PAUSE, DONE)]
    looks: list[int] = []

    def look() -> int:
        looks.append(len(looks))
        if len(looks) == 2:
            answers.go_on.set()
        return looks[-1]

    assert await hold_streams(target, 3, look, patience_s=20) == (0, 1)


async def test_streams_that_wait_in_a_queue_are_not_taken_for_open_ones(answers: Answers, target: Target) -> None:
    answers.script = [stream(TOKEN, PAUSE, DONE), stream(PAUSE, TOKEN, DONE)]
    with pytest.raises(AnswerFailed, match="only 1 of 2 streams had begun"):
        await hold_streams(target, 2, int, patience_s=1)
    answers.script = [stream(TOKEN, DONE)]
    with pytest.raises(AnswerFailed, match="2 of 2 streams were over"):
        await hold_streams(target, 2, int, patience_s=20)
