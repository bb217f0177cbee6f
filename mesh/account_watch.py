"""All that happens to an account's tasks, from now on: one subscription, folded task by task.

What is live may be lost. A hole in a task's counter is filled by asking; a task that has been silent for a while is
asked about too, since its end may be what was lost. A task that began and ended while the connection was down is never
seen here.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from msgspec import Struct

from mesh.headers import SEQUENCE, header
from mesh.live import LiveEvent
from streams import subjects
from streams.codec import decode_task_event
from streams.errors import UndecodableEvent
from streams.task import Rejection, TaskState, advance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.direct_client import Delivery
    from mesh.live import LiveFeed
    from mesh.user_source import UserSource
    from streams.events import TaskEvent
    from streams.subjects import TaskKey

_INBOX_LIMIT: Final = 8192
_TICK_S: Final = 1.0
_SILENT_S: Final = 10.0


class AccountStep(NamedTuple):
    """One valid event of one of the account's tasks, and what that task has become by it."""

    task: str
    event: TaskEvent
    writer: str
    state: TaskState


class _Open(Struct):
    """A task that has not ended: what it is, from which stream sequence on it is told, and when it last moved."""

    state: TaskState
    since_sequence: int
    moved_at: float


class AccountWatch:
    """Iterate it for events of all tasks of the account; it listens from the moment it is made until it is closed."""

    def __init__(self, feed: LiveFeed, source: UserSource) -> None:
        """Begin to listen."""
        self._source = source
        self._arrived: deque[Delivery] = deque(maxlen=_INBOX_LIMIT)
        self._ready: deque[AccountStep] = deque()
        self._open: OrderedDict[TaskKey, _Open] = OrderedDict()
        self._something = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._end = feed.tap(self._put)
        self._is_closed = False

    def close(self) -> None:
        """Stop listening; an iteration that waits ends."""
        if not self._is_closed:
            self._is_closed = True
            self._end()
            self._something.set()

    def __aiter__(self) -> AsyncIterator[AccountStep]:
        """Iterate."""
        return self

    async def __anext__(self) -> AccountStep:
        """Wait for the next event.

        Raises:
            BusUnavailable: if something was missed and nobody answers for as long as the client is patient.
        """
        while not self._ready:
            if self._is_closed:
                raise StopAsyncIteration
            await self._listen()
        return self._ready.popleft()

    def __enter__(self) -> Self:
        """Listen inside a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self.close()

    def _put(self, delivery: Delivery) -> None:
        self._arrived.append(delivery)
        self._something.set()

    async def _listen(self) -> None:
        if not self._arrived:
            self._something.clear()
            timer = self._loop.call_later(_TICK_S, self._something.set)
            try:
                await self._something.wait()
            finally:
                timer.cancel()
        if self._arrived:
            # Taken out only when done with, so that a cancelled wait loses nothing.
            delivery = self._arrived[0]
            await self._take(delivery)
            if self._arrived[0] is delivery:
                self._arrived.popleft()
        await self._look_after_silent()

    async def _take(self, delivery: Delivery) -> None:
        origin = subjects.parse_result(delivery.subject)
        sequence = int(header(delivery.headers, SEQUENCE) or 0)
        live = LiveEvent(sequence, origin.writer, delivery.data)
        if origin.key not in self._open:
            self._open[origin.key] = _Open(TaskState(), sequence, self._loop.time())
        if self._apply(origin.key, live) is Rejection.GAP:
            await self._catch_up(origin.key)
            self._apply(origin.key, live)
        self._forget_if_done(origin.key)

    async def _look_after_silent(self) -> None:
        key, task = next(iter(self._open.items()), (None, None))
        if key is None or task is None or task.moved_at > self._loop.time() - _SILENT_S:
            return
        await self._catch_up(key)
        task.moved_at = self._loop.time()
        self._open.move_to_end(key)
        self._forget_if_done(key)

    async def _catch_up(self, key: TaskKey) -> None:
        for stored in await self._source.fetch(key, after_n=self._open[key].state.n, after_sequence=0):
            self._apply(key, stored)

    def _apply(self, key: TaskKey, live: LiveEvent) -> Rejection | None:
        task = self._open[key]
        try:
            event = decode_task_event(live.data)
        except UndecodableEvent:
            return None
        outcome = advance(task.state, live.writer, event)
        if isinstance(outcome, Rejection):
            return outcome
        task.state = outcome
        task.moved_at = self._loop.time()
        self._open.move_to_end(key)
        if live.sequence >= task.since_sequence:
            self._ready.append(AccountStep(key.task, event, live.writer, outcome))
        return None

    def _forget_if_done(self, key: TaskKey) -> None:
        # Nothing counts yet: what arrived was forged.
        if self._open[key].state.is_over or self._open[key].state.n == 0:
            del self._open[key]
