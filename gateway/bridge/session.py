"""One connection: what it asks for, what it is told, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import WSMsgType

from gateway.bridge import close_codes
from gateway.bridge.frames import (
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
from mesh.errors import BusError
from streams.clock import now_ms

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from aiohttp import web

    from gateway.bridge.close_codes import CloseCode
    from gateway.bridge.frames import ClientFrame
    from gateway.bridge.topics import Topics
    from gateway.bridge.wire import Format
    from streams.tokens import Token

log = logging.getLogger(__name__)

MAX_FRAME_BYTES: Final = 64 * 1024
BAD_FRAMES_ALLOWED: Final = 8
_CLOSE_S: Final = 5.0


class Client(NamedTuple):
    """Who is connected, and how frames look there."""

    socket: web.WebSocketResponse[Any]
    """Decodes no text: frames are bytes to us."""
    transport: asyncio.WriteTransport
    wire: Format
    account: Token


class Session:
    """Serves one connection from ``hello`` to the close frame."""

    def __init__(self, client: Client, topics: Topics) -> None:
        """Prepare; ``run`` serves."""
        self._client = client
        self._topics = topics
        self._outbox = Outbox(client.wire, self._write)
        self._subscriptions = Subscriptions(topics, client.account, self._outbox, self._on_failure)
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

    async def run(self) -> None:
        """Serve until either side closes."""
        self._tell(self._hello())
        work = [asyncio.create_task(self._until_it_stops(part)) for part in (self._outbox.run(), self._read())]
        try:
            code = await self._over
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await self._subscriptions.close()
        await self._close(code)

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
        self._tell(ErrorFrame(code="bad_frame", message=str(error)))
        if self._bad_frames > BAD_FRAMES_ALLOWED:
            self.end(close_codes.BAD_FRAMES)

    async def _serve(self, frame: ClientFrame) -> None:
        try:
            await self._answer(frame)
        except RequestRefused as refusal:
            self._tell(_refusal(frame, refusal.code, refusal))
        except BusError as error:
            self._tell(_refusal(frame, "bus_unavailable", error))

    async def _answer(self, frame: ClientFrame) -> None:
        match frame:
            case Subscribe():
                await self._subscriptions.subscribe(frame)
            case CancelTask():
                key = task_key(self._client.account, frame.task)
                outcome = await self._topics.cancel(key, frame.reason)
                self._tell(Cancelled(id=frame.id, task=key.task, outcome=outcome.outcome))
            case Ping():
                self._tell(Pong(id=frame.id, now_ms=now_ms()))
            case _:
                self._subscriptions.unsubscribe(frame)

    # --- writing -------------------------------------------------------------------------------------------------

    def _tell(self, frame: FromGateway) -> None:
        self._outbox.offer(Encoded(frame))

    def _hello(self) -> Hello:
        return Hello(
            protocol=self._client.wire.subprotocol,
            account=self._client.account,
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
        message=str(error),
        id=frame.id,
        topic=frame.topic if isinstance(frame, Subscribe | Unsubscribe) else None,
        task=None if isinstance(frame, Ping) else frame.task,
    )
