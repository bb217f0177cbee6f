"""A node's load, told on change and as a heartbeat, on core NATS: nothing is lost when one is."""

from __future__ import annotations

import asyncio
import os
import uuid
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nodes.pauses import jittered_s
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.messages import NodeStatus

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from mesh.bus.link import Link
    from nodes.attempts.worker import Worker
    from streams.devices.hints import DeviceHints
    from streams.models.orders import NodeRoom
    from streams.tokens import Token

SHORTEST_GAP: Final = timedelta(milliseconds=200)
"""However fast the load changes, reports come no faster."""

_RATE_WINDOW_S: Final = 1.0
_FIRST_RATE_S: Final = 1.05
"""How soon after a change there is a rate to tell of what runs: the next heartbeat may come after a short answer."""

_MEMORY_PAGES: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class StatusReporter:
    """Sends ``NodeStatus`` soon after each change, once more when there is a rate, and at least each ``interval``."""

    def __init__(
        self,
        link: Link,
        node: Token,
        worker: Worker,
        interval: timedelta,
        *,
        process: str | None = None,
        lends: Callable[[], int] = lambda: 0,
    ) -> None:
        """Report on ``worker``, and what the node ``lends`` to shard groups; ``start`` begins.

        ``process`` tells this process from others; None: a new name.
        """
        self.room: Callable[[], NodeRoom | None] = _no_room
        self.hints: Callable[[], DeviceHints | None] = _no_hints
        worker.watch(self.changed)
        self._link = link
        self._node = node
        self._subject = subjects.status(node)
        self._worker = worker
        self._interval_s = interval.total_seconds()
        self._lends = lends
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = None
        self._due = float("inf")
        self._sent_at = float("-inf")
        self._has_changed = False
        self._rates = TokenRates(self._loop.time())
        self.process = process or new_process_name()
        self._running = False

    async def start(self) -> None:
        """Begin with a first report; a service that has just started may ask for one out of turn."""
        self._running = True
        await self._link.listen(subjects.node_inbox(self._node, "report"), lambda _: self.changed())
        self._has_changed = True
        self._send()

    def stop(self) -> None:
        """Report no more."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()

    def changed(self) -> None:
        """Report soon: at once, unless the last report was a moment ago."""
        self._has_changed = True
        due = max(self._loop.time(), self._sent_at + SHORTEST_GAP.total_seconds())
        if self._running and self._due > due:
            self._schedule(due)

    def _schedule(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._send)

    def _send(self) -> None:
        self._sent_at = self._loop.time()
        running = self._worker.running()
        pause_s = jittered_s(self._interval_s)
        self._schedule(self._sent_at + (min(pause_s, _FIRST_RATE_S) if self._has_changed and running else pause_s))
        self._has_changed = False
        rates = self._rates.update(self._sent_at, self._worker.tokens_by_model())
        report = NodeStatus(
            at_ms=now_ms(),
            interval_s=self._interval_s,
            replicas=self._worker.loads(rates),
            running=running,
            memory_bytes=resident_bytes(),
            draining=self._worker.draining,
            room=self.room(),
            process=self.process,
            lends_bytes=self._lends(),
            hints=self.hints(),
        )
        self._link.send(self._subject, encode(report))


def _no_room() -> None:
    """Nobody may have this node load models."""


def _no_hints() -> None:
    """The device says nothing of itself."""


def new_process_name() -> str:
    """Make a name that no other process has."""
    return uuid.uuid4().hex[:12]


class TokenRates:
    """Tokens per second and model, each over at least a second, so that one burst is no rate."""

    def __init__(self, now_s: float) -> None:
        """Begin to count at ``now_s``, on any steady clock."""
        self._since_s = now_s
        self._before: Counter[str] | None = None
        self._rates: dict[str, float] = {}

    def update(self, now_s: float, totals: Counter[str]) -> dict[str, float]:
        """Take the totals of now; returns the latest rates."""
        elapsed_s = now_s - self._since_s
        if self._before is None:
            self._since_s, self._before = now_s, totals
        elif elapsed_s >= _RATE_WINDOW_S:
            before = self._before
            self._rates = {model: (total - before[model]) / elapsed_s for model, total in totals.items()}
            self._since_s, self._before = now_s, totals
        return self._rates


def resident_bytes() -> int | None:
    """Memory of this process as the kernel counts it; None where there is no ``/proc``."""
    try:
        return int(_MEMORY_PAGES.read_bytes().split()[1]) * _PAGE_BYTES
    except OSError:
        return None
