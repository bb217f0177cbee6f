"""What is stored for tasks, as it is stored: one subscription to ``live.…``, fanned out to watchers by task.

Readers never follow ``results.…``: core subscribers of a stream's own subject also see what the broker refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from streams import subjects

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener
    from streams.subjects import TaskKey

_INBOX_LIMIT: Final = 512
_PATIENCE: Final = _INBOX_LIMIT // 2
_END_TAG: Final = b"task.ended."
_TAG_WITHIN: Final = 32
"""The tag is the first field of an event, whoever encodes it."""

_SEQUENCE_LINE: Final = b"\r\nNats-Sequence: "
_TOKENS: Final = 5


class LiveEvent(NamedTuple):
    """One stored event of a task, not decoded: most of what passes interests no watcher."""

    sequence: int
    writer: str
    data: bytes


class LiveFeed:
    """Fans out one ``live.…`` subscription. Delivery is at most once: a watcher that sees a gap reads the stream."""

    def __init__(self, link: Link, subject: str = subjects.LIVE_ALL) -> None:
        """Prepare; ``start`` subscribes. An account's client passes ``subjects.live_of_account``."""
        self._link = link
        self._subject = subject
        self._watches: dict[tuple[str, str], list[Watch]] = {}
        self._taps: list[Callable[[Delivery], None]] = []
        self._listener: Listener | None = None
        self.loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Subscribe."""
        self._listener = await self._link.listen(self._subject, self._on_delivery)

    async def stop(self) -> None:
        """Unsubscribe."""
        if self._listener is not None:
            await self._listener.close()

    def watch(self, key: TaskKey) -> Watch:
        """Follow one task from now on; close the watch after use."""
        watch = Watch(self, key)
        self._watches.setdefault((key.account, key.task), []).append(watch)
        return watch

    def tap(self, handler: Callable[[Delivery], None]) -> Callable[[], None]:
        """Hand everything that passes to ``handler``, from the read loop; returns a function that ends it."""
        self._taps.append(handler)
        return lambda: self._taps.remove(handler)

    def put(self, key: TaskKey, event: LiveEvent) -> None:
        """Give the watchers of a task an event that came by another way."""
        for watch in self._watches.get((key.account, key.task), ()):
            watch.put(event)

    def forget(self, watch: Watch) -> None:
        """Drop a watch; ``Watch.close`` calls this."""
        of_task = self._watches.get((watch.key.account, watch.key.task), [])
        if watch in of_task:
            of_task.remove(watch)
        if not of_task:
            self._watches.pop((watch.key.account, watch.key.task), None)

    def _on_delivery(self, delivery: Delivery) -> None:
        tokens = delivery.subject.split(".")
        sequence = _sequence(delivery.headers)
        if sequence == 0 or len(tokens) != _TOKENS:
            # No stream sent this on: somebody has named this subject for the broker to acknowledge something on.
            return
        _, _, account, task, writer = tokens
        watches = self._watches.get((account, task))
        if watches is not None:
            event = LiveEvent(sequence, writer, delivery.data)
            for watch in watches:
                watch.put(event)
        for tap in self._taps:
            tap(delivery)


class Watch:
    """What has arrived for one task and was not taken yet: bounded, so a slow reader costs no memory."""

    def __init__(self, feed: LiveFeed, key: TaskKey) -> None:
        """Made by ``LiveFeed.watch``."""
        self.key = key
        self._feed = feed
        self.is_patient = False
        """Whether only the end is worth waking for: who wants the whole answer is spared a task switch per piece."""
        self._arrived: deque[LiveEvent] = deque(maxlen=_INBOX_LIMIT)
        self._is_due = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, event: LiveEvent) -> None:
        """Add an event; past the limit the oldest goes, which the reader notices as a gap and reads from the stream."""
        self._arrived.append(event)
        if self.is_patient and len(self._arrived) < _PATIENCE and _END_TAG not in event.data[:_TAG_WITHIN]:
            return
        self._is_due = True
        if self._waiter is not None:
            _release(self._waiter)

    async def take(self, wait_s: float) -> list[LiveEvent]:
        """Return all that has arrived, waiting up to ``wait_s`` for what is worth it; empty when nothing came."""
        if not self._is_due:
            # Kept, not asked for: on Python 3.11 get_running_loop is a system call, and this is the hot path.
            loop = self._feed.loop
            self._waiter = loop.create_future()
            timer = loop.call_later(wait_s, _release, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        taken = list(self._arrived)
        self._arrived.clear()
        self._is_due = False
        return taken

    def wake(self) -> None:
        """End a wait as if something had come: whoever waits has something else to look at."""
        self._is_due = True
        if self._waiter is not None:
            _release(self._waiter)

    def close(self) -> None:
        """Stop following."""
        self._feed.forget(self)

    def __enter__(self) -> Self:
        """Follow inside a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop following."""
        self.close()


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _sequence(headers: bytes) -> int:
    """Return the stream sequence that the broker stamped on an event; 0 if it did not.

    The last such line is the broker's: the publisher may have sent one of its own before it (``headers.stamped``).
    """
    # Called for every token of every stream; a general header parser would cost ten times as much.
    found = headers.rfind(_SEQUENCE_LINE)
    if found < 0:
        return 0
    start = found + len(_SEQUENCE_LINE)
    return int(headers[start : headers.index(b"\r", start)])
