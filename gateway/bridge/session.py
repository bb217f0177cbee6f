"""One connection: what it asks for, what it is told, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import WSMsgType

from gateway.auth.caller import NotAllowed, need
from gateway.auth.failed_logins import TooManyFailures
from gateway.bridge import close_codes
from gateway.bridge.frames import (
    Authenticate,
    Authenticated,
    Cancelled,
    CancelTask,
    ErrorFrame,
    FromGateway,
    Hello,
    Ping,
    Pong,
    Subscribe,
    Unsubscribe,
)
from gateway.bridge.outbox import Outbox, SlowReader
from gateway.bridge.subscriptions import MAX_SUBSCRIPTIONS, Subscriptions
from gateway.bridge.topics import RequestRefused, task_key
from gateway.bridge.wire import Encoded, UnreadableFrame, read_frame
from gateway.limits.ticket import LimitReached
from mesh.errors import BusError, CredentialRefused, WrittenByNewer
from mesh.redaction import hide_secrets
from streams.clock import now_ms

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from aiohttp import web

    from gateway.auth.caller import Door
    from gateway.bridge.close_codes import CloseCode
    from gateway.bridge.frames import ClientFrame
    from gateway.bridge.places import Place
    from gateway.bridge.topics import Topics
    from gateway.bridge.wire import Format
    from mesh.access.caller import Caller

log = logging.getLogger(__name__)

MAX_FRAME_BYTES: Final = 64 * 1024
BAD_FRAMES_ALLOWED: Final = 8
_CLOSE_S: Final = 5.0
AUTHENTICATE_WITHIN_S: Final = 10.0
"""How long somebody may stay who has not said who that is, where the gateway asks."""


class Client(NamedTuple):
    """What is connected, and how frames look there."""

    socket: web.WebSocketResponse[Any]
    """Decodes no text: frames are bytes to us."""
    transport: asyncio.WriteTransport
    wire: Format
    address: str


class Session:
    """Serves one connection from ``hello`` to the close frame."""

    def __init__(self, client: Client, topics: Topics, door: Door, caller: Caller | None, place: Place) -> None:
        """Prepare; ``run`` serves. Without a caller nothing is served until somebody says who that is.

        ``place`` is that of the connection among those of its account.
        """
        self._place = place
        self._client = client
        self._topics = topics
        self._door = door
        self._caller = caller
        self._outbox = Outbox(client.wire, self._write)
        self._subscriptions = None if caller is None else self._subscriptions_of(caller)
        self._over: asyncio.Future[CloseCode | None] = asyncio.get_running_loop().create_future()
        self._bad_frames = 0

    @property
    def outbox(self) -> Outbox:
        """Where frames for this connection go."""
        return self._outbox

    def end(self, code: CloseCode | None) -> None:
        """Make ``run`` close the connection and return; only the first reason counts."""
        if not self._over.done():
            self._over.set_result(code)

    def look_at_caller(self) -> None:
        """End the connection of somebody who would not be let in any more."""
        if self._caller is not None and not self._door.still_holds(self._caller):
            self.end(close_codes.NOT_AUTHENTICATED)

    async def run(self) -> None:
        """Serve until either side closes."""
        self._tell(self._hello())
        late = asyncio.get_running_loop().call_later(AUTHENTICATE_WITHIN_S, self._end_stranger)
        work = [asyncio.create_task(self._until_it_stops(part)) for part in (self._outbox.run(), self._read())]
        try:
            code = await self._over
        finally:
            late.cancel()
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            if self._subscriptions is not None:
                await self._subscriptions.close()
        await self._close(code)

    def _end_stranger(self) -> None:
        if self._caller is None:
            self.end(close_codes.NOT_AUTHENTICATED)

    def _subscriptions_of(self, caller: Caller) -> Subscriptions:
        return Subscriptions(self._topics, caller.account, self._outbox, self._on_failure)

    async def _until_it_stops(self, half: Coroutine[None, None, None]) -> None:
        """Run one half of the connection; however it stops, the connection ends."""
        try:
            await half
        except SlowReader:
            log.info("a websocket reader took too little for too long and is sent away")
            self.end(close_codes.SLOW_READER)
        except ConnectionError:
            pass
        except Exception as error:
            self._on_failure(error)
        self.end(None)

    def _on_failure(self, error: Exception) -> None:
        log.error("a websocket connection failed", exc_info=error)
        self.end(close_codes.INTERNAL)

    # --- reading -------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        async for message in self._client.socket:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            try:
                await self._serve(read_frame(self._client.wire, message.type, message.data))
            except UnreadableFrame as error:
                self._on_bad_frame(error)

    def _on_bad_frame(self, error: UnreadableFrame) -> None:
        self._bad_frames += 1
        self._tell(ErrorFrame(code="bad_frame", message=hide_secrets(str(error))))
        if self._bad_frames > BAD_FRAMES_ALLOWED:
            self.end(close_codes.BAD_FRAMES)

    async def _serve(self, frame: ClientFrame) -> None:
        try:
            await self._answer(frame)
        except (RequestRefused, NotAllowed) as refusal:
            self._tell(_refusal(frame, refusal.code, refusal))
        except BusError as error:
            self._tell(_refusal(frame, "bus_unavailable", error))

    async def _answer(self, frame: ClientFrame) -> None:
        match frame:
            case Authenticate():
                await self._authenticate(frame)
            case Ping():
                self._tell(Pong(id=frame.id, now_ms=now_ms()))
            case _:
                if self._caller is None or self._subscriptions is None:
                    raise RequestRefused("not_authenticated", "send authenticate first, with a key or a session")
                await self._answer_caller(frame, self._caller, self._subscriptions)

    async def _answer_caller(
        self, frame: Subscribe | Unsubscribe | CancelTask, caller: Caller, subscriptions: Subscriptions
    ) -> None:
        if not isinstance(frame, Unsubscribe):
            self._count(caller)
        match frame:
            case Subscribe():
                need(caller, "read")
                await subscriptions.subscribe(frame)
            case Unsubscribe():
                subscriptions.unsubscribe(frame)
            case CancelTask():
                need(caller, "chat")
                key = task_key(caller.account, frame.task)
                outcome = await self._topics.cancel(key, frame.reason)
                self._tell(Cancelled(id=frame.id, task=key.task, outcome=outcome.outcome))

    def _count(self, caller: Caller) -> None:
        try:
            self._door.reads.count(caller.account)
        except LimitReached as error:
            raise RequestRefused("rate_limit_exceeded", str(error)) from error

    async def _authenticate(self, frame: Authenticate) -> None:
        """Take somebody's word for who that is if it proves good; a stranger whose word does not is sent away."""
        try:
            caller = await self._door.credential_text(frame.token, self._client.address)
        except TooManyFailures as error:
            raise RequestRefused("too_many_attempts", str(error)) from error
        except CredentialRefused as refusal:
            self._tell(_refusal(frame, "not_authenticated", refusal))
            if self._caller is None:
                self.end(close_codes.NOT_AUTHENTICATED)
            return
        except WrittenByNewer as error:
            raise RequestRefused("newer_version", str(error)) from error
        if self._account != caller.account and self._subscriptions:
            raise RequestRefused("another_account", f"this connection follows account {self._account}: open another")
        try:
            self._place.take(caller.account)
        except LimitReached as error:
            if self._caller is None:
                self.end(close_codes.TOO_MANY)
            raise RequestRefused("rate_limit_exceeded", str(error)) from error
        if self._subscriptions is None or self._account != caller.account:
            self._subscriptions = self._subscriptions_of(caller)
        self._caller = caller
        self._tell(
            Authenticated(
                id=frame.id,
                account=caller.account,
                rights=tuple(sorted(caller.rights)),
                role=caller.role,
                expires_at_ms=caller.expires_at_ms,
            )
        )

    @property
    def _account(self) -> str | None:
        return None if self._caller is None else self._caller.account

    # --- writing -------------------------------------------------------------------------------------------------

    def _tell(self, frame: FromGateway) -> None:
        self._outbox.offer(Encoded(frame))

    def _hello(self) -> Hello:
        return Hello(
            protocol=self._client.wire.subprotocol,
            account=self._account,
            now_ms=now_ms(),
            max_frame_bytes=MAX_FRAME_BYTES,
            max_subscriptions=MAX_SUBSCRIPTIONS,
            bus_connected=self._topics.bus_connected,
        )

    async def _write(self, data: bytes) -> None:
        await self._client.socket.send_frame(data, self._client.wire.kind)

    async def _close(self, code: CloseCode | None) -> None:
        """Send the close frame. A reader that does not take what was written before it loses the connection without."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                if code is not None:
                    await self._client.socket.close(code=code.code, message=code.meaning.encode())
        except TimeoutError:
            log.info("a websocket reader took nothing any more, not even the close frame")
        if self._client.transport.get_write_buffer_size():
            self._client.transport.abort()


def _refusal(frame: ClientFrame, code: str, error: Exception) -> ErrorFrame:
    return ErrorFrame(
        code=code,
        message=hide_secrets(str(error)),
        id=frame.id,
        topic=frame.topic if isinstance(frame, Subscribe | Unsubscribe) else None,
        task=None if isinstance(frame, Ping | Authenticate) else frame.task,
    )
