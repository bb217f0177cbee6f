"""The topic ``tasks``: the account's recent tasks as they stand, then all that happens to them.

A board costs nothing while nobody watches: the first subscriber starts it, the last one to leave ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from gateway.bridge.audience import Audience
from gateway.bridge.board_entry import BoardEntry
from gateway.bridge.frames import Events, TaskHappening, Tasks
from gateway.bridge.wire import Encoded
from mesh.bus.answer import Reader, follow
from mesh.errors import BusError
from streams import subjects
from streams.errors import StreamsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.bridge.audience import Ear
    from gateway.intake.submissions import Submission, Submissions
    from mesh.bus.answer import Step
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Listener
    from mesh.bus.live import Watch
    from mesh.bus.service_bus import Bus
    from streams.subjects import TaskKey
    from streams.tokens import Token

log = logging.getLogger(__name__)

SHOWN: Final = 100
"""Tasks that a board keeps; the oldest that have ended go first."""

FOLLOWED: Final = 400
"""Tasks that it follows at once; more are left out until some have ended."""

_GATHER_S: Final = 0.03
"""Events of so long share a frame. Readers of one task (topic ``task``) never wait for this."""

_READ_AT_ONCE: Final = 16
_RETRY_S: Final = 1.0
_CONFIRM_AFTER_S: Final = (0.01, 0.2, 2.0)
"""A submission that is heard of is stored within a moment, or was refused."""


class Board:
    """The recent tasks of one account."""

    def __init__(self, bus: Bus, submissions: Submissions, account: Token) -> None:
        """Prepare; ``start`` reads what there is."""
        self._bus = bus
        self._submissions = submissions
        self._account = account
        self._audience = Audience()
        self._entries: dict[str, BoardEntry] = {}
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._new: list[BoardEntry] = []
        self._happened: list[TaskHappening] = []
        self._flush_timer: asyncio.TimerHandle | None = None
        self._listener: Listener | None = None
        self._end_tap: Callable[[], None] | None = None

    async def start(self) -> None:
        """Read the recent tasks and follow those that have not ended.

        Raises:
            BusError: if the streams cannot be read now.
        """
        # Listening comes before reading, so that nothing falls between.
        self._end_tap = self._bus.feed.tap(self._on_stored)
        pattern = f"tasks.*.*.{self._account}.*.submitted"
        self._listener = await self._bus.edge.listen(pattern, self._on_submitted)
        gate = asyncio.Semaphore(_READ_AT_ONCE)
        recent = await self._submissions.recent(self._account, SHOWN)
        await asyncio.gather(*(self._read_back(submission, gate) for submission in recent))

    async def stop(self) -> None:
        """Follow nothing any more."""
        if self._end_tap is not None:
            self._end_tap()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        for follower in self._followers.values():
            follower.cancel()
        await asyncio.gather(*self._followers.values(), return_exceptions=True)
        if self._listener is not None:
            await self._listener.close()

    def join(self, ear: Ear) -> None:
        """Send all tasks as they stand, then what happens to them."""
        self._flush()
        views = tuple(entry.view() for _, entry in sorted(self._entries.items()) if entry.is_confirmed)
        ear.offer(Encoded(Tasks(tasks=views, reset=True)))
        self._audience.add(ear)

    def leave(self, ear: Ear) -> None:
        """Send no more."""
        self._audience.remove(ear)

    # --- noticing tasks ------------------------------------------------------------------------------------------

    async def _read_back(self, submission: Submission, gate: asyncio.Semaphore) -> None:
        if submission.key.task in self._entries:
            return
        entry = self._entries[submission.key.task] = BoardEntry(submission.key, submission)
        async with gate:
            # What cannot be read now is left to the follower, which tries again.
            with contextlib.suppress(BusError):
                for step in await Reader(self._bus.source, entry.key).catch_up():
                    entry.apply(step)
        if not entry.state.is_over:
            self._spawn(entry, None)

    def _on_submitted(self, delivery: Delivery) -> None:
        """Somebody submits: a hint only, for the stream may still refuse it."""
        try:
            key = subjects.parse_submitted(delivery.subject).key
        except StreamsError:
            return
        if key.task not in self._entries:
            self._notice(key, self._bus.feed.watch(key))

    def _on_stored(self, delivery: Delivery) -> None:
        """Something was stored for a task: one that is known, but for what came while we were not connected."""
        _, _, account, task, _ = delivery.subject.split(".")
        if account == self._account and task not in self._entries:
            # A subject of the stream need not name a task: the broker acknowledges wherever a publisher says.
            with contextlib.suppress(StreamsError):
                self._notice(subjects.parse_result(delivery.subject).key, None)

    def _notice(self, key: TaskKey, watch: Watch | None) -> None:
        if len(self._followers) >= FOLLOWED:
            if watch is not None:
                watch.close()
            return
        entry = self._entries[key.task] = BoardEntry(key, None)
        self._spawn(entry, watch)
        self._forget_old()

    def _forget_old(self) -> None:
        surplus = max(0, len(self._entries) - SHOWN)
        over = [task for task, entry in self._entries.items() if entry.state.is_over]
        for task in over[:surplus]:
            del self._entries[task]

    # --- following one task --------------------------------------------------------------------------------------

    def _spawn(self, entry: BoardEntry, watch: Watch | None) -> None:
        follower = asyncio.create_task(self._follow(entry, watch), name=f"board-{entry.key.task}")
        self._followers[entry.key.task] = follower
        follower.add_done_callback(lambda done: self._on_follower_done(entry, done))

    def _on_follower_done(self, entry: BoardEntry, follower: asyncio.Task[None]) -> None:
        self._followers.pop(entry.key.task, None)
        if not follower.cancelled() and (error := follower.exception()) is not None:
            log.error("task %s is no longer followed", entry.key.task, exc_info=error)

    async def _follow(self, entry: BoardEntry, watch: Watch | None) -> None:
        try:
            if entry.is_confirmed or await self._confirm(entry):
                await self._follow_to_the_end(entry, watch)
            else:
                del self._entries[entry.key.task]
        finally:
            if watch is not None:
                watch.close()

    async def _confirm(self, entry: BoardEntry) -> bool:
        """Find out what was asked; False if nothing is stored, as after a submission that was refused."""
        for pause_s in _CONFIRM_AFTER_S:
            await asyncio.sleep(pause_s)
            try:
                entry.submission = await self._submissions.find(entry.key)
            except BusError:
                continue
            if entry.is_confirmed:
                self._new.append(entry)
                self._flush_soon()
                return True
        return False

    async def _follow_to_the_end(self, entry: BoardEntry, watch: Watch | None) -> None:
        while True:
            try:
                async for steps in follow(self._bus.source, entry.key, watch=watch, after=entry.state.n):
                    self._take(entry, steps)
            except BusError:
                # A watch that was opened before the task began is of no use once something was missed.
                watch = None
                await asyncio.sleep(_RETRY_S)
            else:
                return

    def _take(self, entry: BoardEntry, steps: Sequence[Step]) -> None:
        for step in steps:
            entry.apply(step)
            self._happened.append(TaskHappening(task=entry.key.task, writer=step.writer, event=step.event))
        self._flush_soon()

    # --- telling -------------------------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(_GATHER_S, self._flush)

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        new, self._new = self._new, []
        happened, self._happened = self._happened, []
        if new:
            self._audience.tell(Tasks(tasks=tuple(entry.view() for entry in new)))
        # What a new task has become already stands in its view.
        told = {entry.key.task for entry in new}
        rest = tuple(item for item in happened if item.task not in told)
        if rest:
            self._audience.tell(Events(topic="tasks", events=rest))
