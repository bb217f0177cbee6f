"""Two gateways as processes: one dies or leaves while many streams run, and their readers go on at the other."""

import asyncio
import contextlib
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import httpx
import openai
import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout, WSMsgType
from openai import AsyncStream
from openai.types.responses import ResponseStreamEvent

from tests.http_gateway import Sse, sse_events, text_of
from tests.processes import PATIENCE_S, until
from tests.running_mesh import PATIENT, SYNTHETIC, Parts, running_parts

pytestmark = pytest.mark.timeout(240)

STREAMS = 24
TOKENS = 100
BODY = {
    "model": SYNTHETIC,
    "messages": [{"role": "user", "content": "Tell me about the sea."}],
    "max_tokens": TOKENS,
    "stream": True,
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with running_parts(tmp_path_factory.mktemp("parts")) as running:
        running.start("dispatcher")
        slow = ("--engine", "synthetic", "--token-delay-ms", "40", "--slots", str(STREAMS * 2))
        running.start("node", *slow, **PATIENT)
        start_leaver(running)
        running.start("gateway-stays", "--http", "127.0.0.1:0")
        running.ready("dispatcher", "node", "gateway-leaves", "gateway-stays")
        yield running


def start_leaver(parts: Parts) -> None:
    parts.start("gateway-leaves", "--http", "127.0.0.1:0", "--http-stop-timeout", "300ms")


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession(timeout=ClientTimeout(total=PATIENCE_S)) as opened:
        yield opened


@dataclass
class Reader:
    """One stream, over as many connections as it takes; every second one was asked for under an idempotency key."""

    number: int
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    task: str = ""
    events: list[Sse] = field(default_factory=list[Sse])

    @property
    def has_text(self) -> bool:
        return bool(self.ids)

    @property
    def ids(self) -> list[int]:
        return [int(event.id) for event in self.events if event.id]

    @property
    def is_whole(self) -> bool:
        return bool(self.events) and self.events[-1].data == "[DONE]"

    async def read(self, session: ClientSession, url: str) -> str | None:
        """Read to the end; returns the code of the error that ended it before."""
        headers = {"Idempotency-Key": self.key} if self.number % 2 else {}
        if self.task:
            headers |= {"Last-Event-ID": str(self.ids[-1])} | ({} if self.number % 2 else {"x-ig3-task": self.task})
        async with session.post(f"{url}/v1/chat/completions", json=BODY, headers=headers) as response:
            assert response.status == 200, await response.text()
            assert self.task in ("", response.headers["x-ig3-task"])
            self.task = response.headers["x-ig3-task"]
            async for event in sse_events(response):
                if event.data is not None and event.data.startswith('{"error"'):
                    assert int(event.id or 0) == self.ids[-1]
                    return event.json["error"]["code"]
                self.events.append(event)
        return None


@dataclass
class ResponseReader:
    """A response that OpenAI's own client streams."""

    stream: AsyncStream[ResponseStreamEvent]
    events: list[ResponseStreamEvent] = field(default_factory=list[ResponseStreamEvent])

    @classmethod
    async def open(cls, client: openai.AsyncOpenAI) -> "ResponseReader":
        asked = client.responses.create(
            model=SYNTHETIC, input="Tell me about the sea.", max_output_tokens=TOKENS, stream=True
        )
        return cls(await asked)

    @property
    def name(self) -> str:
        assert self.events[0].type == "response.created"
        return self.events[0].response.id

    @property
    def text(self) -> str:
        return "".join(event.delta for event in self.events if event.type == "response.output_text.delta")

    async def read(self, until_text: int | None = None) -> bool:
        """Read until there are so many words, or the stream ends; returns whether it was whole."""
        with contextlib.suppress(httpx.HTTPError, openai.APIError):
            async for event in self.stream:
                self.events.append(event)
                if until_text is not None and len(self.text.split()) >= until_text:
                    break
        return bool(self.events) and self.events[-1].type in ("response.completed", "response.incomplete")

    async def go_on(self, client: openai.AsyncOpenAI) -> None:
        """Read the rest elsewhere, and find that nothing is missing or there twice."""
        last = self.events[-1].sequence_number
        self.stream = await client.responses.retrieve(self.name, stream=True, starting_after=last)
        assert await self.read()
        assert [event.sequence_number for event in self.events] == list(range(len(self.events)))
        assert len(self.text.split()) == TOKENS
        whole = await client.responses.retrieve(self.name)
        assert whole.output_text == self.text


def client_of(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


async def whole_answer(session: ClientSession, url: str) -> str:
    async with session.post(f"{url}/v1/chat/completions", json={**BODY, "stream": False}) as response:
        return (await response.json())["choices"][0]["message"]["content"]


async def is_whole(session: ClientSession, url: str, task: str) -> bool:
    async with session.get(f"{url}/v1/tasks/{task}") as response:
        return (await response.json())["finish_reason"] is not None


async def half_read(
    parts: Parts, session: ClientSession, client: openai.AsyncOpenAI
) -> tuple[list[Reader], list[asyncio.Task[str | None]], ResponseReader]:
    """Have answers begun by a node that stands still now: none of them is whole, however slow this test is."""
    leaves, stays, node = parts.urls["gateway-leaves"], parts.urls["gateway-stays"], parts.running["node"]
    while True:
        readers = [Reader(number) for number in range(STREAMS)]
        reading = [asyncio.create_task(reader.read(session, leaves)) for reader in readers]
        response = await ResponseReader.open(client)
        await response.read(until_text=1)
        await until(lambda: all(reader.has_text for reader in readers))  # noqa: B023 - waited for right here
        os.kill(node.pid, signal.SIGSTOP)
        tasks = [*(reader.task for reader in readers), response.name.removeprefix("resp_")]
        if not any(await asyncio.gather(*(is_whole(session, stays, task) for task in tasks))):
            return readers, reading, response
        os.kill(node.pid, signal.SIGCONT)
        await asyncio.gather(*reading)
        await response.read()


def go_on_writing(parts: Parts) -> None:
    os.kill(parts.running["node"].pid, signal.SIGCONT)


async def go_on(readers: list[Reader], session: ClientSession, url: str) -> None:
    """Read the rest elsewhere, and find that nothing is missing or there twice."""
    assert not any(reader.is_whole for reader in readers)
    assert await asyncio.gather(*(reader.read(session, url) for reader in readers)) == [None] * len(readers)
    expected = await whole_answer(session, url)
    assert len(expected.split()) == TOKENS
    for reader in readers:
        assert reader.is_whole
        assert reader.ids == sorted(set(reader.ids))
        assert text_of(reader.events) == expected
    assert len({reader.task for reader in readers}) == len(readers)


async def test_streams_of_a_gateway_that_is_killed_go_on_at_the_other(parts: Parts, session: ClientSession) -> None:
    leaves, stays = parts.urls["gateway-leaves"], parts.urls["gateway-stays"]
    async with client_of(leaves) as dying, client_of(stays) as living:
        await kill_and_go_on(parts, session, dying, living)
    start_leaver(parts)
    parts.ready("gateway-leaves")


async def kill_and_go_on(
    parts: Parts, session: ClientSession, dying: openai.AsyncOpenAI, living: openai.AsyncOpenAI
) -> None:
    readers, reading, response = await half_read(parts, session, dying)
    parts.running["gateway-leaves"].kill()
    go_on_writing(parts)
    broken = await asyncio.gather(*reading, return_exceptions=True)
    assert not await response.read()
    await response.go_on(living)
    assert all(isinstance(end, ClientError) for end in broken), broken
    await go_on(readers, session, parts.urls["gateway-stays"])


async def test_a_gateway_that_is_asked_to_stop_tells_its_readers_where_to_go_on(
    parts: Parts, session: ClientSession
) -> None:
    leaves, stays = parts.urls["gateway-leaves"], parts.urls["gateway-stays"]
    async with session.ws_connect(f"{leaves}/ws") as ws, client_of(leaves) as client:
        hello = json.loads((await ws.receive()).data)
        assert hello["type"] == "hello"
        readers, reading, _ = await half_read(parts, session, client)
        process = parts.running["gateway-leaves"].process
        process.send_signal(signal.SIGTERM)
        async for message in ws:
            assert message.type is WSMsgType.TEXT
        assert ws.close_code == 1012
    assert await asyncio.gather(*reading) == ["gateway_stopping"] * STREAMS
    go_on_writing(parts)
    assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
    await go_on(readers, session, stays)
