"""The websocket bridge of one gateway: accepts connections, and sends them away with a reason when it stops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.bridge import close_codes
from gateway.bridge.audience import Audience
from gateway.bridge.frames import BusState
from gateway.bridge.places import Place
from gateway.bridge.session import MAX_FRAME_BYTES, Client, Session
from gateway.bridge.topics import Topics
from gateway.bridge.wire import FORMATS, JSON
from gateway.send_buffers import limit_buffers

if TYPE_CHECKING:
    from gateway.auth.caller import Door
    from gateway.bridge.wire import Format
    from gateway.roster.feed import RosterFeed
    from mesh.access.caller import Caller
    from mesh.bus.service_bus import Bus

MAX_CONNECTIONS: Final = 10_000

_HEARTBEAT_S: Final = 20.0
_CLOSE_ANSWER_S: Final = 2.0
_LOOK_S: Final = 0.5


class Bridge:
    """Serves ``/ws``. ``roster_feed`` is started and stopped by its owner."""

    def __init__(self, bus: Bus, roster_feed: RosterFeed, door: Door) -> None:
        """Prepare. ``door`` says who a caller is, and whether that still holds."""
        self._topics = Topics(bus, roster_feed)
        self._door = door
        self._sessions: set[Session] = set()
        self._everybody = Audience()
        self._work: list[asyncio.Task[None]] = []
        self._bus = bus

    async def start(self) -> None:
        """Begin to tell changes of the roster and of the bus, and to look at who is connected."""
        self._work.append(asyncio.create_task(self._topics.roster.run(), name="bridge-roster"))
        self._work.append(asyncio.create_task(self._watch(), name="bridge-watch"))

    def dismiss(self) -> None:
        """End all connections with the code that says "come back at once, behind the last n that you have"."""
        for session in tuple(self._sessions):
            session.end(close_codes.STOPPING)

    async def close(self) -> None:
        """End all connections, and stop."""
        self.dismiss()
        await self._topics.boards.close()
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Turn a request into a connection and serve it to its end.

        Raises:
            web.HTTPException: if it is no websocket request, asks for another protocol, or there is no room.
            CredentialRefused: if it shows a credential that opens nothing.
            TooManyFailures: if whoever asks has to wait.
            LimitReached: if the account has asked too often, or has too many connections open.
            BusError: if it cannot be known now who that is.
        """
        wire = _wanted_format(request)
        caller = await self._door.credential(request) or self._door.local
        if caller is not None:
            self._door.reads.count(caller.account)
        place = Place(self._door.places)
        if len(self._sessions) >= MAX_CONNECTIONS:
            raise web.HTTPServiceUnavailable(text="too many websocket connections here", headers={"Retry-After": "5"})
        if caller is not None:
            place.take(caller.account)
        try:
            return await self._connect(request, wire, caller, place)
        finally:
            place.give_back()

    async def _connect(
        self, request: web.Request, wire: Format, caller: Caller | None, place: Place
    ) -> web.StreamResponse:
        response = web.WebSocketResponse(
            protocols=tuple(FORMATS),
            heartbeat=_HEARTBEAT_S,
            timeout=_CLOSE_ANSWER_S,
            max_msg_size=MAX_FRAME_BYTES,
            compress=False,
            decode_text=False,
        )
        await response.prepare(request)
        transport = limit_buffers(request)
        if transport is not None:
            client = Client(response, transport, wire, self._door.failures.address_of(request))
            await self._run(Session(client, self._topics, self._door, caller, place))
        return response

    async def _run(self, session: Session) -> None:
        self._sessions.add(session)
        self._everybody.add(session.outbox)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            self._everybody.remove(session.outbox)

    async def _watch(self) -> None:
        while True:
            for session in tuple(self._sessions):
                session.look_at_caller()
            if self._bus.is_connected != self._topics.bus_connected:
                self._topics.bus_connected = self._bus.is_connected
                self._everybody.tell(BusState(connected=self._bus.is_connected))
            await asyncio.sleep(_LOOK_S)


def _wanted_format(request: web.Request) -> Format:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise web.HTTPUpgradeRequired(text="this is a websocket: connect with Upgrade: websocket")
    offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()]
    known = [FORMATS[name] for name in offered if name in FORMATS]
    if offered and not known:
        raise web.HTTPBadRequest(text=f"none of these subprotocols is spoken here; known: {', '.join(FORMATS)}")
    return known[0] if known else JSON
