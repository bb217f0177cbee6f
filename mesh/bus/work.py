"""Taking work from a durable pull consumer, a bounded number of messages at a time.

A message stays un-acked until whoever took it is done, and is kept alive meanwhile; when this process dies, the broker
hands its messages to another within the consumer's ``ack_wait``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mesh.bus.headers import status_code
from streams.topology import ACK_WAIT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener

log = logging.getLogger(__name__)

_EXPIRES: Final = timedelta(seconds=30)
_HEARTBEAT: Final = timedelta(seconds=2)
_TICK_S: Final = 0.5
_KEEP_ALIVE_S: Final = ACK_WAIT.total_seconds() / 3
_IDLE_HEARTBEAT: Final = 100
_DELIVERED_TOKEN: Final = 4
_SEQUENCE_TOKEN: Final = 5
_STORED_TOKEN: Final = 7
_NANOSECONDS_PER_MS: Final = 1_000_000


class Work:
    """One message taken from a queue: ``done`` it, or it comes again."""

    __slots__ = ("_queue", "data", "headers", "reply", "subject")

    def __init__(self, queue: WorkQueue, delivery: Delivery) -> None:
        """Made by the queue."""
        self._queue = queue
        self.subject = delivery.subject
        self.reply = delivery.reply
        self.data = delivery.data
        self.headers = delivery.headers

    @property
    def deliveries(self) -> int:
        """How often the broker has handed this out, this time included (``$JS.ACK.<stream>.<consumer>.<times>…``)."""
        return int(self.reply.split(".")[_DELIVERED_TOKEN])

    @property
    def sequence(self) -> int:
        """Its place in the stream (``$JS.ACK.<stream>.<consumer>.<times>.<sequence>…``)."""
        return int(self.reply.split(".")[_SEQUENCE_TOKEN])

    @property
    def stored_at_ms(self) -> int:
        """When the stream took it, in Unix milliseconds."""
        return int(self.reply.split(".")[_STORED_TOKEN]) // _NANOSECONDS_PER_MS

    def done(self) -> None:
        """Never deliver it again."""
        self._queue.settle(self, b"+ACK")

    def forget(self) -> None:
        """Neither keep it alive nor settle it: somebody else does, or it comes again after the consumer's wait."""
        self._queue.forget(self)

    def hand_back(self, delay: timedelta | None = None) -> None:
        """Deliver it again, to anybody, after ``delay``."""
        options = b"" if delay is None else b' {"delay": %d}' % _nanoseconds(delay)
        self._queue.settle(self, b"-NAK" + options)


class WorkQueue:
    """Pulls from one consumer and calls ``handler`` for each message, at most ``window`` being held at once."""

    def __init__(self, link: Link, stream: str, consumer: str, handler: Callable[[Work], None], *, window: int) -> None:
        """Prepare; ``start`` begins to pull."""
        self._link = link
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = f"{link.inbox}.pull{uuid.uuid4().hex[:8]}"
        self._handler = handler
        self._window = window
        self._held: set[Work] = set()
        self._numbers = itertools.count(1)
        self._asked: dict[str, _Pull] = {}
        self._listener: Listener | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def held(self) -> int:
        """How many messages this process holds un-acked."""
        return len(self._held)

    async def start(self) -> None:
        """Begin to pull."""
        self._listener = await self._link.listen(f"{self._inbox}.*", self._on_delivery)
        self._keeper = asyncio.create_task(self._keep(), name=f"work-{self._subject}")
        self._pull()

    async def pause(self) -> None:
        """Take nothing more; what is held stays so, and is kept alive: for whoever has to end that before ``stop``."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()

    async def stop(self, running: Collection[asyncio.Task[None]] = ()) -> None:
        """Pull no more, end what is ``running`` on what is held, and give that back to the consumer at once."""
        # First: or what comes meanwhile would be begun, and nobody would end it.
        await self.pause()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        for work in tuple(self._held):
            work.hand_back()
        self._held.clear()

    def forget(self, work: Work) -> None:
        """Let go of a message; ``Work`` calls this."""
        self._held.discard(work)
        self._pull()

    def settle(self, work: Work, verdict: bytes) -> None:
        """Tell the broker what became of a message; ``Work`` calls this."""
        if work not in self._held:
            return
        self._held.discard(work)
        self._link.send(work.reply, verdict)
        self._pull()

    def _pull(self) -> None:
        asked = sum(pull.remaining for pull in self._asked.values())
        room = self._window - len(self._held) - asked
        if self._listener is None or room <= 0 or (self._asked and room < self._window // 2):
            return
        number = str(next(self._numbers))
        self._asked[number] = _Pull(room, self._loop.time())
        body = {"batch": room, "expires": _nanoseconds(_EXPIRES), "idle_heartbeat": _nanoseconds(_HEARTBEAT)}
        self._link.send(self._subject, json.dumps(body).encode(), reply=f"{self._inbox}.{number}")

    def _on_delivery(self, delivery: Delivery) -> None:
        # A message keeps its own subject; a status comes on the inbox of the pull that it is about.
        code = status_code(delivery.headers) if delivery.subject.startswith(self._inbox) else None
        if code is None:
            self._take(delivery)
            return
        number = delivery.subject.rpartition(".")[2]
        pull = self._asked.get(number)
        if pull is None:
            return
        pull.heard_at = self._loop.time()
        if code != _IDLE_HEARTBEAT:
            # Expired, empty, or the broker is not ready: the keeper asks again within a tick.
            del self._asked[number]

    def _take(self, delivery: Delivery) -> None:
        oldest = next(iter(self._asked.items()), None)
        if oldest is not None:
            number, pull = oldest
            pull.heard_at = self._loop.time()
            pull.remaining -= 1
            if pull.remaining <= 0:
                del self._asked[number]
        work = Work(self, delivery)
        self._held.add(work)
        self._handler(work)
        self._pull()

    async def _keep(self) -> None:
        kept_alive_at = self._loop.time()
        while True:
            await asyncio.sleep(_TICK_S)
            now = self._loop.time()
            silent_since = now - 2 * _HEARTBEAT.total_seconds() - 1
            self._asked = {number: pull for number, pull in self._asked.items() if pull.heard_at > silent_since}
            self._pull()
            if now - kept_alive_at >= _KEEP_ALIVE_S:
                kept_alive_at = now
                for work in self._held:
                    self._link.send(work.reply, b"+WPI")


class _Pull:
    """One pull request that the broker has not used up yet."""

    __slots__ = ("heard_at", "remaining")

    def __init__(self, remaining: int, heard_at: float) -> None:
        self.remaining = remaining
        self.heard_at = heard_at


def _nanoseconds(duration: timedelta) -> int:
    return round(duration / timedelta(microseconds=1)) * 1000
