"""nats-py with two shortcuts for the hot path: delivery by a plain call, and sending without an await.

nats-py hands every message through a queue to a task per subscription (45-52k messages/s); here a chosen subscription's
handler is called straight from the read loop. This is the only file that touches nats-py's insides; the version
is pinned, and ``tests/integration/test_direct_client.py`` proves each of them on a real server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from nats.aio.client import Client
from nats.errors import StaleConnectionError

if TYPE_CHECKING:
    from nats.aio.client import Srv
    from nats.aio.msg import Msg

log = logging.getLogger(__name__)

LEAVE_S: Final = 3.0
_EXPIRED: Final = ("user authentication expired", "user authentication revoked", "account authentication expired")
"""What the broker says before it ends a connection whose rights were given for a time."""


class Delivery(NamedTuple):
    """One message as it arrived. ``headers`` is the raw block, or empty; ``mesh.bus.headers`` reads it."""

    subject: str
    reply: str
    data: bytes
    headers: bytes


Handler = Callable[[Delivery], None]
"""Called from the read loop: must return at once, and never waits."""


async def _unreachable(_: Msg) -> None:
    """Stand in for nats-py's own callback: direct subscriptions never reach it."""


def _nothing() -> None:
    """Stand in for a callback until somebody sets it."""


class DirectClient(Client):
    """A nats-py client whose ``listen`` subscriptions bypass the queue and whose ``send`` is synchronous."""

    def __init__(self) -> None:
        """Make a client that is not connected yet."""
        super().__init__()
        self._direct: dict[int, Handler] = {}
        self.is_leaving = False
        self.is_renewing = False
        self.dialled_at_s = 0.0
        """When the server was called that it is, or was last, connected to: of the event loop's clock."""
        self.on_drop: Callable[[], None] = _nothing
        self.on_return: Callable[[], None] = _nothing
        self.on_end: Callable[[], None] = _nothing

    @property
    def server_address(self) -> str:
        """``HOST:PORT`` of the server that it is connected to, or was last."""
        server = self._current_server
        return server.uri.netloc if server is not None else ""

    async def leave(self) -> None:
        """Send what is queued and disconnect for good."""
        self.is_leaving = True
        try:
            async with asyncio.timeout(LEAVE_S):
                await self.close()
        except (TimeoutError, ConnectionError):
            # A server that hangs, or has cut us off in this moment, takes nothing: what is queued for it is lost.
            log.debug("left without a goodbye")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled us: nats-py cancels its own wait for the end of a connection that was just lost, and with
            # it everybody's who waits for that.
        finally:
            # nats-py does nothing where it counts as closed already, as in the midst of a refused handshake.
            self._abort()

    async def change_server(self) -> None:
        """Drop the connection and open one to another server; ``on_drop`` and ``on_return`` tell."""
        await self.force_reconnect()
        # nats-py would first wait until the old server has taken all that is queued, which one that hangs never does.
        self._abort()

    async def renew(self) -> None:
        """Open the connection anew, to show who we are before the broker ends it."""
        self.is_renewing = True
        await self.force_reconnect()

    async def _connect_to_server(self, s: Srv) -> None:
        # One that took the connection and then said nothing: nats-py forgets it without closing it.
        self._abort()
        self.dialled_at_s = asyncio.get_running_loop().time()
        await super()._connect_to_server(s)

    async def _process_connect_init(self) -> None:
        await super()._process_connect_init()
        if not self.is_connected:
            # nats-py takes the end of the stream for an answer, and would count as connected.
            raise StaleConnectionError

    async def _process_err(self, err_msg: str) -> None:
        if any(word in err_msg.lower() for word in _EXPIRED):
            # nats-py would close for good. Whoever logs in shows anew who it is, and goes on where it was.
            await self._process_op_err(StaleConnectionError())
            return
        await super()._process_err(err_msg)

    def _abort(self) -> None:
        # With TLS there are two: the encrypted stream, and the bare one below it.
        for name in ("_io_writer", "_bare_io_writer"):
            writer = getattr(self._transport, name, None)
            if writer is not None:
                writer.transport.abort()

    async def listen(self, subject: str, handler: Handler, queue: str = "") -> int:
        """Subscribe, with ``handler`` called for each message in order; returns the subscription's id.

        nats-py keeps the subscription in its own table, so it is renewed by every reconnect.
        """
        # ``subscribe`` takes the next number before its first await; entering it first leaves no message undelivered.
        sid = self._sid + 1
        self._direct[sid] = handler
        await self.subscribe(subject, queue=queue, cb=_unreachable)  # pyright: ignore[reportUnknownMemberType] - nats-py's bare Future
        return sid

    async def silence(self, sid: int) -> None:
        """End a ``listen``; a connection that is closed, or about to be, has none."""
        self._direct.pop(sid, None)
        sub = self._subs.get(sid)
        if sub is not None and not (self.is_closed or self.is_draining):
            await sub.unsubscribe()

    def send(self, subject: str, data: bytes, reply: str = "", headers: bytes = b"") -> None:
        """Queue a message for the socket; nothing is awaited, the flusher writes it in this turn of the loop."""
        target = f"{subject} {reply}" if reply else subject
        if headers:
            total = len(headers) + len(data)
            command = b"HPUB %b %d %d\r\n%b%b\r\n" % (target.encode(), len(headers), total, headers, data)
        else:
            command = b"PUB %b %d\r\n%b\r\n" % (target.encode(), len(data), data)
        self._pending.append(command)
        self._pending_data_size += len(command)
        if self.is_connected and self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        handler = self._direct.get(sid)
        if handler is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            handler(Delivery(subject.decode(), reply.decode(), data, headers or b""))
        except Exception:
            # The read loop would die with it, and every other subscription of the process too.
            log.exception("the handler of %s failed", subject.decode())
