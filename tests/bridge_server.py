"""The bridge and the page alone on a free port, with a websocket client that reads frames as a test wants them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import msgpack
import msgspec
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web

from gateway.auth.caller import Door
from gateway.bridge import routes as bridge_routes
from gateway.bridge.bridge import Bridge
from gateway.page import routes as page_routes
from gateway.roster.feed import RosterFeed
from gateway.settings import GatewaySettings
from mesh.access.credentials_check import CredentialsCheck
from mesh.access.feed import AccessFeed
from mesh.access.session_keys import SessionKeys
from mesh.bus.service_bus import Bus
from streams.tokens import Token
from tests.http_gateway import data_dir_of

LIMIT_S = 30.0
LOCAL = Token("local")

Frame = dict[str, Any]


@dataclass(kw_only=True)
class BridgeServer:
    """One gateway's worth of bridge; ``stop`` ends it as a gateway that is asked to."""

    url: str
    bridge: Bridge
    runner: web.AppRunner

    async def stop(self) -> None:
        await self.runner.cleanup()

    @asynccontextmanager
    async def connect(self, wire: str | None = "ig3.v1.json", **options: Any) -> AsyncIterator["Socket"]:
        protocols = () if wire is None else (wire,)
        async with (
            ClientSession() as session,
            session.ws_connect(f"{self.url}/ws", protocols=protocols, **options) as ws,
        ):
            yield Socket(ws)


class Socket:
    """A client's end. Every frame that was read is in ``seen``."""

    def __init__(self, ws: ClientWebSocketResponse) -> None:
        self.ws = ws
        self.seen: list[Frame] = []

    async def send(self, **frame: Any) -> Self:
        if self.ws.protocol == "ig3.v1.msgpack":
            await self.ws.send_bytes(msgspec.msgpack.encode(frame))
        else:
            await self.ws.send_str(json.dumps(frame))
        return self

    async def receive(self) -> Frame:
        message = await asyncio.wait_for(self.ws.receive(), LIMIT_S)
        if message.type is WSMsgType.TEXT:
            frame = json.loads(message.data)
        elif message.type is WSMsgType.BINARY:
            frame = msgpack.unpackb(message.data)
        else:
            raise AssertionError(f"no frame but {message.type!r} {message.data!r} {message.extra!r}")
        self.seen.append(frame)
        return frame

    async def until(self, wanted: Callable[[Frame], object]) -> Frame:
        """Read on until a frame is as wanted, and return it."""
        while not wanted(frame := await self.receive()):
            pass
        return frame

    async def until_type(self, kind: str) -> Frame:
        return await self.until(lambda frame: frame["type"] == kind)

    async def until_closed(self) -> int:
        """Read to the close frame and return its code."""
        while True:
            message = await asyncio.wait_for(self.ws.receive(), LIMIT_S)
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING):
                assert self.ws.close_code is not None
                return self.ws.close_code

    def events(self, task: str) -> list[Frame]:
        """All events of a task in the frames that were read."""
        batches = (frame["events"] for frame in self.seen if frame["type"] == "events")
        return [item["event"] for batch in batches for item in batch if item["task"] == task]


@asynccontextmanager
async def serve_bridge(bus: Bus, account: Token = LOCAL, port: int = 0) -> AsyncIterator[BridgeServer]:
    feed = RosterFeed(bus)
    await feed.start()
    app = web.Application()
    check = CredentialsCheck(AccessFeed(bus.core), SessionKeys.load_or_create(data_dir_of(bus)))
    bridge = Bridge(bus, feed, Door(check, GatewaySettings(), account))
    bridge_routes.add_routes(app, bridge)
    page_routes.add_routes(app)
    runner = web.AppRunner(app, shutdown_timeout=5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield BridgeServer(url=f"http://127.0.0.1:{runner.addresses[0][1]}", bridge=bridge, runner=runner)
    finally:
        await runner.cleanup()
        await feed.stop()
