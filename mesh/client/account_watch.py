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

from mesh.bus.answer import Reader
from mesh.bus.headers import SEQUENCE, stamped
from mesh.bus.live import LiveEvent, Watch
from streams import subjects
from streams.codec import decode_task_event
from streams.errors import InvalidSubject, UndecodableEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.bus.answer import Step
    from mesh.bus.direct_client import Delivery
    from mesh.bus.live import LiveFeed
    from mesh.client.user_source import UserSource
    from streams.events import TaskEvent
    from streams.subjects import TaskKey
    from streams.tasks.task import TaskState

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
    """A task that has not ended: who folds it, when it last moved, and whether anything was told of it."""

    reader: Reader
    inbox: Watch
    moved_at: float
    is_new: bool = True


class AccountWatch:
    """Iterate it for events of all tasks of the account; it listens from the moment it is made until it is closed."""

    def __init__(self, feed: LiveFeed, source: UserSource) -> None:
        """Begin to listen."""
        self._feed = feed
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
        try:
            origin = subjects.parse_result(delivery.subject)
        except InvalidSubject:
            # The stream takes any words there, and the broker acknowledges wherever a publisher says.
            return
        live = LiveEvent(int(stamped(delivery.headers, SEQUENCE) or 0), origin.writer, delivery.data)
        task = self._open.get(origin.key) or self._begin(origin.key)
        task.inbox.put(live)
        steps = await task.reader.take(task.inbox)
        self._tell(origin.key, task, _from(live, steps) if task.is_new else steps)

    def _begin(self, key: TaskKey) -> _Open:
        task = _Open(Reader(self._source, key), Watch(self._feed, key), self._loop.time())
        self._open[key] = task
        return task

    async def _look_after_silent(self) -> None:
        key, task = next(iter(self._open.items()), (None, None))
        if key is None or task is None or task.moved_at > self._loop.time() - _SILENT_S:
            return
        self._tell(key, task, await task.reader.catch_up())

    def _tell(self, key: TaskKey, task: _Open, steps: list[Step]) -> None:
        self._ready += (AccountStep(key.task, step.event, step.writer, step.state) for step in steps)
        task.is_new = False
        task.moved_at = self._loop.time()
        self._open.move_to_end(key)
        # Where nothing counts yet, what arrived was forged.
        if task.reader.state.is_over or task.reader.state.n == 0:
            del self._open[key]


def _from(live: LiveEvent, steps: list[Step]) -> list[Step]:
    """Leave out what had happened before the first live event: it was caught up on only to judge that one."""
    try:
        first = decode_task_event(live.data)
    except UndecodableEvent:
        return []
    found = (index for index, step in enumerate(steps) if (step.writer, step.event) == (live.writer, first))
    return steps[next(found, len(steps)) :]
