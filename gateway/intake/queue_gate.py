"""Whether a new task is taken, asked before anything is stored: queues have an end, and a full one says so at once.

The dispatchers report what they hold about once a second. What this gateway has submitted since is not in their reports
yet, so it is counted here: a burst between two reports meets the same bounds. A task of ours is counted until it ends.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.errors import GatewayError
from gateway.intake.retry_after import UNKNOWN_S, retry_after_s
from gateway.roster.backlog_feed import Queue
from streams.clock import now_ms

if TYPE_CHECKING:
    from gateway.roster.backlog_feed import BacklogFeed
    from mesh.bus.service_bus import Bus
    from streams.events import EndEvent
    from streams.subjects import ServiceClass, TaskKey

_TOO_MANY_REQUESTS: Final = 429
_UNAVAILABLE: Final = 503

_GRACE_MS: Final = 60_000
_SWEEP_S: Final = 30.0


class Limits(Struct, frozen=True, kw_only=True):
    """Where queues end."""

    open_tasks: int
    """Tasks of one account that may be open, running or waiting."""
    open_tasks_of: Mapping[str, int]
    """The same for accounts that have a limit of their own."""
    waiting: int
    """Tasks that may wait for one model in one class."""
    dispatcher_patience_s: float
    """How long tasks are still taken while no dispatcher is heard."""


class TaskNotTaken(GatewayError):
    """The mesh takes no such task now, and has stored nothing of it."""

    def __init__(self, message: str, *, status: int, code: str, retry_after_s: int) -> None:
        """Keep what a client needs to come back at the right time."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class _Ours(Struct):
    """A task that this gateway has submitted and that has not ended."""

    account: str
    queue: Queue
    round: int
    gone_at_ms: int
    """By then it has ended, whether we heard of it or not."""


class QueueGate:
    """Counts and decides. A look costs a few dictionary reads."""

    def __init__(self, bus: Bus, feed: BacklogFeed, limits: Limits) -> None:
        """Prepare; ``start`` begins to count ends."""
        self._bus = bus
        self.feed = feed
        self._limits = limits
        self._ours: dict[TaskKey, _Ours] = {}
        self._open_of = Counter[str]()
        self._fresh: tuple[Counter[Queue], Counter[Queue]] = (Counter(), Counter())
        """Ours by queue that the dispatchers may not have reported yet: of this round of reports, and of the last."""
        self._round = 0
        self._heard: set[str] = set()
        self._ours_when_reported: Mapping[str, int] = {}
        self._swept_at_s = time.monotonic()

    async def start(self) -> None:
        """Begin to hear reports and ends."""
        self._bus.on_end(self._on_end)
        self._bus.core.on_return(self._forget_ours)
        self.feed.subscribe(self._on_report)
        await self.feed.start()

    async def stop(self) -> None:
        """Hear no more."""
        await self.feed.stop()

    @property
    def trouble(self) -> str | None:
        """Why no task is taken at all, or None."""
        silent_s = self.feed.backlogs.silent_s(now_s=self.feed.now_s())
        if silent_s <= self._limits.dispatcher_patience_s:
            return None
        return f"no dispatcher has been heard for {silent_s:.0f} s"

    def check(self, account: str, model: str, service_class: ServiceClass, *, beside: int = 0) -> None:
        """Return if a task may be submitted now, with as many others as ``beside`` says that are not counted yet.

        Raises:
            TaskNotTaken: 429 if the account has its fill, 503 if the queue is full or no dispatcher is there.
        """
        if (trouble := self.trouble) is not None:
            message = f"The mesh takes no tasks now: {trouble}."
            raise TaskNotTaken(message, status=_UNAVAILABLE, code="no_dispatcher", retry_after_s=UNKNOWN_S)
        totals = self.feed.backlogs.totals
        limit = self._limits.open_tasks_of.get(account, self._limits.open_tasks)
        # Of the reported ones those are ours that were ours then; the rest is the other gateways' and the bus's own.
        others = max(0, totals.open_of.get(account, 0) - self._ours_when_reported.get(account, 0))
        if (over := self._open_of[account] + others + beside - limit) >= 0:
            after_s = retry_after_s(over, sum(totals.ended_per_s.values()))
            message = f"Rate limit reached for account {account}: {limit} tasks are open. Try again in {after_s} s."
            raise TaskNotTaken(message, status=_TOO_MANY_REQUESTS, code="rate_limit_exceeded", retry_after_s=after_s)
        queue = (model, service_class)
        waiting = totals.waiting_in.get(queue, 0) + self._fresh[0][queue] + self._fresh[1][queue]
        if (over := waiting + beside - self._limits.waiting) >= 0:
            after_s = retry_after_s(over, totals.ended_per_s.get(queue, 0.0))
            message = (
                f"That model is currently overloaded with other requests: {waiting} {service_class} tasks wait for "
                f"`{model}`. Try again in {after_s} s."
            )
            raise TaskNotTaken(message, status=_UNAVAILABLE, code="overloaded", retry_after_s=after_s)

    def opened(self, key: TaskKey, model: str, service_class: ServiceClass, *, deadline_at_ms: int) -> None:
        """Count a task that is being submitted; ``dropped`` takes it back."""
        self.dropped(key)
        ours = _Ours(
            account=key.account,
            queue=(model, service_class),
            round=self._round,
            gone_at_ms=deadline_at_ms + _GRACE_MS,
        )
        self._ours[key] = ours
        self._open_of[key.account] += 1
        self._fresh[0][ours.queue] += 1

    def dropped(self, key: TaskKey) -> None:
        """Count a task no more: it has ended, or was not stored after all."""
        ours = self._ours.pop(key, None)
        if ours is None:
            return
        self._open_of[ours.account] -= 1
        age = self._round - ours.round
        if age < len(self._fresh):
            self._fresh[age][ours.queue] -= 1

    def _on_end(self, key: TaskKey, _: EndEvent) -> None:
        self.dropped(key)

    def _on_report(self, dispatcher: str) -> None:
        self._ours_when_reported = dict(self._open_of)
        self._heard.add(dispatcher)
        if self._heard >= self.feed.backlogs.dispatchers:
            # All have spoken: what we submitted before the last round is in their reports by now.
            self._heard.clear()
            self._round += 1
            self._fresh = (Counter(), self._fresh[0])
            self._sweep()

    def _sweep(self) -> None:
        """Forget tasks whose end we cannot have heard."""
        now_s = time.monotonic()
        if now_s - self._swept_at_s < _SWEEP_S:
            return
        self._swept_at_s = now_s
        for key in [key for key, ours in self._ours.items() if ours.gone_at_ms < now_ms()]:
            self.dropped(key)
        self._open_of = +self._open_of

    def _forget_ours(self) -> None:
        """The connection is another one: ends may have been missed, so only the reports count."""
        self._ours.clear()
        self._open_of.clear()
        self._fresh = (Counter(), Counter())
        self._ours_when_reported = {}
