"""The gateway's HTTP server on a free port of a test, and a client that says what came back."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from gateway.auth.caller import Door
from gateway.auth.sign_in import SignIn
from gateway.dispatcher.settings import DispatcherSettings
from gateway.http.app import build_app
from gateway.http.leaving import Leaving
from gateway.http.metrics_page import MetricsPage
from gateway.http.server import HttpServer
from gateway.http.site import SITE
from gateway.intake.queue_gate import QueueGate
from gateway.limits.limiter import Limiter
from gateway.roster.feed import RosterFeed
from gateway.settings import GatewaySettings
from mesh.access.feed import AccessFeed
from mesh.access.session_keys import SessionKeys
from mesh.bus.answer import Reader
from mesh.bus.service_bus import Bus
from mesh.telemetry.telemetry import Telemetry

LIMIT_S = 30.0
MODEL = "synthetic"

Json = dict[str, Any]


@dataclass(kw_only=True)
class Sse:
    """One server-sent event, or a run of comments."""

    id: str | None = None
    data: str | None = None
    comments: list[str] = field(default_factory=list)

    @property
    def json(self) -> Json:
        assert self.data is not None
        return json.loads(self.data)


@dataclass(kw_only=True)
class HttpGateway:
    """One gateway. ``session`` asks it as a program does."""

    url: str
    bus: Bus
    feed: RosterFeed
    access: AccessFeed
    server: HttpServer
    session: ClientSession
    answers: list[ClientResponse] = field(default_factory=list[ClientResponse])
    """All of them, until the end: one that is dropped before its body has come leaves a connection open."""

    @property
    def gate(self) -> QueueGate:
        """What decides whether tasks are taken."""
        return self.server._app[SITE].gate

    @property
    def limiter(self) -> Limiter:
        """What keeps callers within their limits."""
        return self.server._app[SITE].limiter

    @property
    def door(self) -> Door:
        """What lets callers in."""
        return self.server._app[SITE].door

    @property
    def sign_in(self) -> SignIn:
        """What signs callers in."""
        return self.server._app[SITE].sign_in

    @property
    def leaving(self) -> Leaving:
        """How far its stop has come."""
        return self.server._app[SITE].leaving

    async def post(self, path: str, body: object, **headers: str) -> ClientResponse:
        """Send JSON; ``x_ig3_task`` as a keyword is the header ``x-ig3-task``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._kept(await self.session.post(f"{self.url}{path}", json=body, headers=named))

    async def ask(self, body: Mapping[str, object] | None = None, **headers: str) -> ClientResponse:
        """Ask for a chat completion; what ``body`` says comes on top of a request that works."""
        return await self.post("/v1/chat/completions", chat(**(body or {})), **headers)

    async def until_served(self, model: str = MODEL) -> None:
        """Wait until a node that serves the model has reported to this gateway."""
        heard = asyncio.Event()
        stop = self.feed.subscribe(lambda _: heard.set())
        async with asyncio.timeout(LIMIT_S):
            while self.feed.roster.model(model, now_s=self.feed.now_s()) is None:
                heard.clear()
                await heard.wait()
        stop()

    async def get(self, path: str, **headers: str) -> ClientResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._kept(await self.session.get(f"{self.url}{path}", headers=named))

    def _kept(self, answer: ClientResponse) -> ClientResponse:
        self.answers.append(answer)
        return answer


def data_dir_of(bus: Bus) -> Path:
    """The data folder whose credentials a bus was opened with."""
    return bus.options.edge_seed.parents[1]


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until the answer is yes."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            if await check():
                return
            await asyncio.sleep(0.01)


def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have gateways see to the client of a quiet answer many times a second, in the place of every two seconds."""
    defaults = Reader.take.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "wait_s", 0.05)


async def until_known(gateway: HttpGateway, key: str) -> None:
    """Wait until a gateway has heard of an API key."""

    async def is_known() -> bool:
        return (await gateway.get("/v1/models", Authorization=f"Bearer {key}")).status == 200

    await until(is_known)


def chat(**fields: object) -> Json:
    """The body of a request that works, with some fields changed."""
    return {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5, **fields}


async def sse_events(response: ClientResponse) -> AsyncIterator[Sse]:
    """Read a stream event by event, as the standard says; comments come as events of their own."""
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    event = Sse()
    async for raw in response.content:
        line = raw.decode().rstrip("\n")
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "" if line:
                event.comments.append(value)
            case "":
                yield event
                event = Sse()
            case "id":
                event.id = value
            case "data":
                assert event.data is None
                event.data = value
            case _:
                raise AssertionError(f"unexpected line {line!r}")
    assert event == Sse(), "the stream broke off inside an event"


async def read_sse(response: ClientResponse) -> list[Sse]:
    """Read a stream to its end, without the comments."""
    return [event async for event in sse_events(response) if event.data is not None]


def text_of(events: list[Sse]) -> str:
    """The text of a chat completion's stream."""
    chunks = [event.json for event in events if event.data != "[DONE]"]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])


@asynccontextmanager
async def serve_http(
    bus: Bus,
    *,
    telemetry: Telemetry | None = None,
    metrics: MetricsPage | None = None,
    known_models: tuple[str, ...] = (MODEL, "promised"),
    deadline: timedelta = timedelta(seconds=LIMIT_S),
    aliases: tuple[str, ...] = (),
    **settings: Any,
) -> AsyncIterator[HttpGateway]:
    """Serve on a free port; ``bus.feed`` must run. What fails at once has its status, however slow this machine is."""
    chosen = GatewaySettings(**{"http": "127.0.0.1:0", "http_stop_timeout": timedelta(seconds=2), **settings})
    feed, access = RosterFeed(bus), AccessFeed(bus.core)
    await feed.start()
    await access.start()
    tasks = DispatcherSettings(known_models=known_models, deadline=deadline, aliases=aliases)
    app = build_app(
        bus,
        feed,
        chosen,
        access=access,
        sessions=SessionKeys.load_or_create(data_dir_of(bus)),
        tasks=tasks,
        telemetry=telemetry,
        metrics=metrics,
    )
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gateway.http.exchange.HOLD_S", LIMIT_S)
            async with HttpServer(app, chosen) as server, ClientSession() as session:
                gateway = HttpGateway(url=server.url, bus=bus, feed=feed, access=access, server=server, session=session)
                yield gateway
                for answer in gateway.answers:
                    answer.close()
    finally:
        await access.stop()
        await feed.stop()
