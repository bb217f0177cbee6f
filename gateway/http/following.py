"""Following a task on behalf of a client: with patience for a bus that is away, and a look at the clock between."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol, Self

from gateway.http.errors import ApiError, newer_version
from gateway.http.wishes import LAST_EVENT_ID
from mesh.bus.answer import Reader
from mesh.errors import BusError, WrittenByNewer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.answer import Step, TaskSource
    from mesh.bus.live import Watch
    from streams.subjects import TaskKey
    from streams.tasks.task import TaskState

log = logging.getLogger(__name__)

PATIENCE_S: Final = 30.0
"""How long the streams may be unreadable (a broker that restarts) before a client is told."""

LAG_S: Final = 1.5
"""How far the copies of a stream may lag behind each other before a counter is taken for one that never was."""

_PAUSE_S: Final = 0.25


class Following(Protocol):
    """What an answer is made of: a task that is followed, or an answer that was stored (``http.cache.replay``)."""

    behind: list[Step]
    reached: int

    @property
    def state(self) -> TaskState:
        """What the task has become."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the end has been handed out."""
        ...

    async def steps(self) -> list[Step]:
        """Return what has happened since the last call."""
        ...

    async def first_steps(self) -> list[Step]:
        """Return the first of ``steps``, for a client that comes back."""
        ...


class Follower:
    """One client's way through a task: every valid event once, in order, whatever happens to the bus meanwhile."""

    def __init__(
        self,
        source: TaskSource,
        key: TaskKey,
        *,
        watch: Watch | None = None,
        after: int = 0,
        only_whole: bool = False,
    ) -> None:
        """Begin to listen.

        Args:
            source: where to read.
            key: which task.
            watch: one that was opened before the task was submitted, which saves the first look into the stream.
            after: the last counter that the client has.
            only_whole: whether the client waits for the whole answer, and pieces may come late.
        """
        self._source = source
        self._key = key
        self._reader = Reader(source, key)
        self._watch = watch or source.watch(key)
        self._watch.is_patient = only_whole
        self._is_current = watch is not None
        self._after = after
        self.reached = after
        """The last counter that was handed out."""
        self.guard: Callable[[], None] | None = None
        """Asked before steps are handed out; raises ApiError where the client may not have them any more."""
        self.behind: list[Step] = []
        """What happened up to ``after``, for a client that goes on."""

    @property
    def state(self) -> TaskState:
        """What the task has become."""
        return self._reader.state

    @property
    def is_over(self) -> bool:
        """Whether the end has been handed out; before the first look nobody knows."""
        return self._reader.state.is_over

    async def steps(self) -> list[Step]:
        """Return what has happened since the last call; empty when about 2 s have passed without anything.

        So the caller can see to its client now and then without a timer of its own. A bus that is away is no end:
        reading again loses nothing.

        Raises:
            ApiError: 501 if the task went on in a way that only a newer version can read; what ``guard`` raises.
            BusError: if the streams stay unreadable for longer than ``PATIENCE_S``.
        """
        try:
            steps = await self._next_steps()
        except WrittenByNewer as error:
            raise newer_version(error) from error
        if self.guard is not None:
            self.guard()
        return steps

    async def _next_steps(self) -> list[Step]:
        if not self._is_current:
            return self._fresh(await self._read_again())
        try:
            return self._fresh(await self._reader.take(self._watch))
        except BusError as error:
            log.warning("task %s cannot be read now: %s", self._key.task, error)
            return self._fresh(await self._read_again())

    async def first_steps(self) -> list[Step]:
        """Return the first of ``steps``, for a client that comes back.

        Raises:
            ApiError: 400 if the client claims to have more of the task than there is.
            BusError: as ``steps``.
        """
        claimed = self.reached
        steps = await self.steps()
        # The copy of a stream that answers may lag a moment behind the one that the client has read from.
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + LAG_S
        while self.state.n < claimed and not self.is_over and loop.time() < give_up_at_s:
            steps = await self.steps()
        if self.state.n < claimed:
            message = f"{LAST_EVENT_ID} {claimed} lies ahead of the task, whose latest event is {self.state.n}."
            raise ApiError(400, message, code="invalid_value", param=LAST_EVENT_ID)
        return steps

    def wake(self) -> None:
        """Make ``steps`` return now: there is something else to look at."""
        self._watch.wake()

    def close(self) -> None:
        """Listen no more."""
        self._watch.close()

    def __enter__(self) -> Self:
        """Listen inside a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self.close()

    def _fresh(self, steps: list[Step]) -> list[Step]:
        if steps and steps[0].state.n <= self.reached:
            known = self.behind[-1].state.n if self.behind else 0
            self.behind += [step for step in steps if known < step.state.n <= self._after]
            steps = [step for step in steps if step.state.n > self.reached]
        if steps:
            self.reached = steps[-1].state.n
        return steps

    async def _read_again(self) -> list[Step]:
        # From the start, by a new reader: one that failed half-way has taken steps that it did not hand out.
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + PATIENCE_S
        while True:
            reader = Reader(self._source, self._key)
            try:
                steps = await reader.catch_up()
            except BusError:
                if loop.time() > give_up_at_s:
                    raise
                await asyncio.sleep(_PAUSE_S)
            else:
                self._reader = reader
                self._is_current = True
                return steps
