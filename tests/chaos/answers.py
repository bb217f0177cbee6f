"""Readers of answers, as users are: they come back when they are cut off, and remember what came when."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import ClientError, ClientSession, ClientTimeout, ClientWSTimeout

from mesh.client.client import Client
from mesh.errors import MeshError
from nodes.engine import EngineSpec, Generate
from nodes.engines import open_engine
from streams.tasks.chat import Message, Sampling
from streams.tasks.task_id import new_task_id
from tests.http_gateway import Sse, sse_events
from tests.running_mesh import SYNTHETIC

PATIENCE_S = 180.0
"""Far longer than any fault lasts: an answer that takes longer is lost."""

_PAUSE_S = 0.2
_CONNECT_S = 5.0
_SILENCE = ClientTimeout(total=None, sock_connect=3, sock_read=8)
_WS_SILENCE = ClientWSTimeout(ws_receive=8, ws_close=1)  # pyright: ignore[reportCallIssue] - fields of attrs
_HOPELESS = frozenset({"attempts_exhausted", "deadline_exceeded", "task_cancelled", "invalid_result"})


@dataclass
class Transcript:
    """What one reader was given of one task, over all its connections."""

    question: str
    tokens: int
    way: str
    task: str = field(default_factory=new_task_id)
    text: str = ""
    counters: list[int] = field(default_factory=list[int])
    arrivals_s: list[float] = field(default_factory=list[float])
    """When each piece of text came, on the event loop's clock; the first is when it was asked for."""
    is_whole: bool = False
    connections: int = 0
    problem: str = ""

    @property
    def last(self) -> int:
        """The counter of the last piece."""
        return self.counters[-1] if self.counters else 0

    def take(self, n: int, text: str) -> None:
        """Note a piece."""
        self.counters.append(n)
        self.text += text
        if text:
            self.arrivals_s.append(asyncio.get_running_loop().time())


class Reader(Protocol):
    """Reads one answer after the other."""

    now: Transcript | None

    async def read(self, question: str, tokens: int) -> Transcript:
        """Ask and read to the end, however often it is cut off."""
        ...

    def drop(self) -> None:
        """Be cut off now."""
        ...


class _Cut:
    """A connection that can be cut from outside."""

    def __init__(self) -> None:
        self.now: Transcript | None = None
        self._connection: asyncio.Task[None] | None = None

    def drop(self) -> None:
        if self._connection is not None:
            self._connection.cancel()

    async def _persist(self, transcript: Transcript, connect: Callable[[], Coroutine[Any, Any, None]]) -> Transcript:
        """Connect again and again until the answer is whole."""
        self.now = transcript
        loop = asyncio.get_running_loop()
        transcript.arrivals_s.append(loop.time())
        give_up_at_s = loop.time() + PATIENCE_S
        while not transcript.is_whole and not transcript.problem:
            transcript.connections += 1
            self._connection = asyncio.create_task(connect())
            try:
                await asyncio.wait({self._connection}, timeout=max(0.0, give_up_at_s - loop.time()))
            finally:
                self._connection.cancel()
            with contextlib.suppress(ClientError, ConnectionError, TimeoutError, MeshError, asyncio.CancelledError):
                await self._connection
            if loop.time() >= give_up_at_s:
                transcript.problem = transcript.problem or "it never became whole"
        return transcript


class HttpReader(_Cut):
    """Reads server-sent events; comes back with `Last-Event-ID` to the next gateway."""

    def __init__(self, session: ClientSession, url: Callable[[int], str], first: int) -> None:
        super().__init__()
        self._session = session
        self._url = url
        self._turn = first

    async def read(self, question: str, tokens: int) -> Transcript:
        """Ask and read to the end, however often it is cut off."""
        transcript = Transcript(question=question, tokens=tokens, way="http")
        return await self._persist(transcript, lambda: self._connect(transcript))

    async def _connect(self, transcript: Transcript) -> None:
        url = self._url(self._turn)
        self._turn += 1
        headers = {"x-ig3-task": transcript.task}
        if transcript.last:
            headers["Last-Event-ID"] = str(transcript.last)
        try:
            async with self._session.post(
                f"{url}/v1/chat/completions", json=_asked(transcript), headers=headers, timeout=_SILENCE
            ) as response:
                if response.status != 200:
                    _refused(transcript, response.status, await response.text())
                else:
                    await self._take(transcript, sse_events(response))
                    return
        except ClientError:
            pass
        await asyncio.sleep(_PAUSE_S)

    async def _take(self, transcript: Transcript, events: Any) -> None:
        async for event in events:
            if event.data == "[DONE]":
                transcript.is_whole = True
            elif event.data is not None:
                _take_event(transcript, event)


class WebsocketReader(_Cut):
    """Asks over HTTP, hangs up, and follows the task over the websocket; comes back to the next gateway."""

    def __init__(self, session: ClientSession, url: Callable[[int], str], first: int) -> None:
        super().__init__()
        self._session = session
        self._url = url
        self._turn = first
        self._is_submitted = False

    async def read(self, question: str, tokens: int) -> Transcript:
        """Ask and read to the end, however often it is cut off."""
        self._is_submitted = False
        transcript = Transcript(question=question, tokens=tokens, way="websocket")
        return await self._persist(transcript, lambda: self._connect(transcript))

    async def _connect(self, transcript: Transcript) -> None:
        url = self._url(self._turn)
        self._turn += 1
        try:
            if not self._is_submitted:
                await self._submit(transcript, url)
            if self._is_submitted:
                await self._follow(transcript, url)
        except (ClientError, TimeoutError):
            pass
        await asyncio.sleep(0 if transcript.is_whole else _PAUSE_S)

    async def _submit(self, transcript: Transcript, url: str) -> None:
        headers = {"x-ig3-task": transcript.task, "x-ig3-on-disconnect": "continue"}
        async with self._session.post(
            f"{url}/v1/chat/completions", json=_asked(transcript), headers=headers, timeout=_SILENCE
        ) as response:
            if response.status == 200:
                self._is_submitted = True
            else:
                _refused(transcript, response.status, await response.text())

    async def _follow(self, transcript: Transcript, url: str) -> None:
        async with asyncio.timeout(_CONNECT_S):
            ws = await self._session.ws_connect(f"{url}/ws", timeout=_WS_SILENCE)
        async with ws:
            await ws.send_json(
                {"type": "subscribe", "id": 1, "topic": "task", "task": transcript.task, "after": transcript.last}
            )
            async for message in ws:
                frame = message.json()
                for item in frame.get("events", ()):
                    event = item["event"]
                    transcript.take(event["n"], event.get("text", ""))
                if frame["type"] == "over":
                    transcript.is_whole = True
                    return
                if frame["type"] == "error":
                    return


class BusReader(_Cut):
    """Reads through the Python client, straight from the bus."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    async def read(self, question: str, tokens: int) -> Transcript:
        """Ask and read to the end, however often it is cut off."""
        transcript = Transcript(question=question, tokens=tokens, way="bus")
        return await self._persist(transcript, lambda: self._connect(transcript))

    async def _connect(self, transcript: Transcript) -> None:
        if transcript.counters:
            answer = await self._client.resume(transcript.task, after=transcript.last)
        else:
            answer = await self._client.submit(
                SYNTHETIC, transcript.question, max_tokens=transcript.tokens, task=transcript.task
            )
        async with answer:
            async for piece in answer:
                transcript.take(piece.n, piece.text)
            transcript.is_whole = True


def _asked(transcript: Transcript) -> dict[str, object]:
    return {
        "model": SYNTHETIC,
        "messages": [{"role": "user", "content": transcript.question}],
        "max_tokens": transcript.tokens,
        "stream": True,
    }


def _refused(transcript: Transcript, status: int, body: str) -> None:
    """Gateways that have just started, or do not reach the bus, say so; what is final is noted."""
    code = json.loads(body)["error"]["code"] if body.startswith("{") else ""
    if 400 <= status < 429 or code in _HOPELESS:
        transcript.problem = f"{status}: {body}"


def _take_event(transcript: Transcript, event: Sse) -> None:
    said = event.json
    if "error" in said:
        if said["error"].get("code") in _HOPELESS:
            transcript.problem = str(said["error"])
        return
    text = "".join(choice["delta"].get("content") or "" for choice in said["choices"])
    if event.id:
        transcript.take(int(event.id), text)
    else:
        assert not text, "text without a counter cannot be resumed behind"


async def uninterrupted(question: str, tokens: int) -> str:
    """What the synthetic engine answers when nothing goes wrong."""
    engine = open_engine(EngineSpec(engine="synthetic"))
    await engine.start()
    request = Generate(messages=(Message(role="user", content=question),), sampling=Sampling(max_tokens=tokens))
    return "".join([piece.text async for piece in engine.generate(request)])
