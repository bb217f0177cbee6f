"""Telling the gateways how much this dispatcher holds, so that they refuse in good time what would wait too long."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from gateway.intake.retry_after import retry_after_s
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.devices.region_backlog import RegionBacklog
from streams.messages import AccountBacklog, Backlog, ModelBacklog
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.dispatcher.life import TaskLife
    from gateway.dispatcher.overflow import Overflow
    from mesh.bus.link import Link
    from streams.subjects import ServiceClass, TaskKey

INTERVAL_S: Final = 1.0
_WINDOW_S: Final = 30.0
"""Over how long the speed of a queue is measured."""

_Queue = tuple[str, "ServiceClass"]


class BacklogReports:
    """Sends what is held each ``INTERVAL_S``, and that it leaves when it stops."""

    def __init__(self, core: Link, name: str, lives: Mapping[TaskKey, TaskLife], overflow: Overflow) -> None:
        """Prepare; ``lives`` are this dispatcher's tasks, ``overflow`` those that it handed back to wait."""
        self._core = core
        self._subject = subjects.backlog(token(name))
        self._lives = lives
        self._overflow = overflow
        self._ended: deque[tuple[float, _Queue]] = deque()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to report."""
        self._task = asyncio.create_task(self._run(), name="backlog")

    def stop(self) -> None:
        """Say that this dispatcher leaves."""
        if self._task is not None:
            self._task.cancel()
        self._core.send(self._subject, encode(Backlog(at_ms=now_ms(), interval_s=INTERVAL_S, leaves=True)))

    def note_end(self, model: str, service_class: ServiceClass) -> None:
        """Count a task that has ended."""
        self._ended.append((time.monotonic(), (model, service_class)))

    def retry_after_s(self, service_class: ServiceClass) -> int:
        """When some tasks of a class have ended, if they go on ending as they do."""
        ended = sum(count for (_, ended_class), count in self._ended_lately().items() if ended_class == service_class)
        return retry_after_s(0, ended / _WINDOW_S)

    async def _run(self) -> None:
        while True:
            self._core.send(self._subject, encode(self._report()))
            await asyncio.sleep(INTERVAL_S)

    def _report(self) -> Backlog:
        running, waiting = Counter[str](), Counter[str]()
        queues = Counter[_Queue]()
        inside = Counter[tuple[str, str]]()
        for life in self._lives.values():
            account = life.record.key.account
            if life.posting.node is not None:
                running[account] += 1
            else:
                waiting[account] += 1
                asked = life.asked
                queues[asked.model, life.service_class] += 1
                if asked.rules is not None and asked.rules.region is not None:
                    inside[asked.model, asked.rules.region] += 1
        for account, service_class, model, region in self._overflow.waiting():
            waiting[account] += 1
            queues[model, service_class] += 1
            if region is not None:
                inside[model, region] += 1
        ended = self._ended_lately()
        return Backlog(
            at_ms=now_ms(),
            interval_s=INTERVAL_S,
            accounts=tuple(
                AccountBacklog(account=account, running=running[account], waiting=waiting[account])
                for account in sorted(running.keys() | waiting.keys())
            ),
            models=tuple(
                ModelBacklog(
                    model=model,
                    service_class=service_class,
                    waiting=queues[model, service_class],
                    ended_per_s=round(ended[model, service_class] / _WINDOW_S, 3),
                )
                for model, service_class in sorted(queues.keys() | ended.keys())
            ),
            regions=tuple(
                RegionBacklog(model=model, region=region, waiting=count)
                for (model, region), count in sorted(inside.items())
            ),
        )

    def _ended_lately(self) -> Counter[_Queue]:
        then = time.monotonic() - _WINDOW_S
        while self._ended and self._ended[0][0] < then:
            self._ended.popleft()
        return Counter(queue for _, queue in self._ended)
