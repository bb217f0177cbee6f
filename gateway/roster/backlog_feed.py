"""How much the dispatchers hold, all together, as they say themselves about once a second."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.roster.hearing import Hearing
from streams import subjects
from streams.codec import decode
from streams.errors import StreamsError
from streams.messages import Backlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener
    from streams.subjects import ServiceClass

_BELIEVED_FOR: Final = 2.5
"""Intervals after which a dispatcher that says nothing is gone."""

Queue = tuple[str, "ServiceClass"]
"""A model and a class: what tasks wait in."""


class Totals(Struct, frozen=True, kw_only=True):
    """What all dispatchers hold. What no dispatcher has pulled yet is not in it."""

    open_of: Mapping[str, int] = {}
    """By account: running and waiting."""
    waiting_in: Mapping[Queue, int] = {}
    ended_per_s: Mapping[Queue, float] = {}
    waiting_inside: Mapping[tuple[str, str], int] = {}
    """By model and region: of those that wait, who must not leave it."""


class Backlogs:
    """A pure fold of reports: the latest of each dispatcher, while it is believed. Times are monotonic, in seconds."""

    def __init__(self, *, now_s: float) -> None:
        """Start before any report."""
        self._heard: dict[str, tuple[Backlog, float]] = {}
        self._silent_since_s = now_s
        self.totals = Totals()

    @property
    def dispatchers(self) -> frozenset[str]:
        """Those that are believed to be there."""
        return frozenset(self._heard)

    def hear(self, dispatcher: str, report: Backlog, *, now_s: float) -> None:
        """Take one report; the last of one that leaves takes out what it held."""
        self._heard[dispatcher] = (report, now_s + report.interval_s * _BELIEVED_FOR)
        if report.leaves:
            del self._heard[dispatcher]
        self._silent_since_s = now_s
        self._forget(now_s)
        self.totals = _summed([report for report, _ in self._heard.values()])

    def silent_s(self, *, now_s: float) -> float:
        """For how long no dispatcher has been believed to be there; 0 while one is."""
        until_s = max((until_s for _, until_s in self._heard.values()), default=self._silent_since_s)
        if now_s < until_s:
            return 0.0
        self._forget(now_s)
        return now_s - self._silent_since_s

    def _forget(self, now_s: float) -> None:
        gone = [name for name, (_, until_s) in self._heard.items() if now_s >= until_s]
        for name in gone:
            del self._heard[name]
        if gone and not self._heard:
            self.totals = Totals()


def _summed(reports: list[Backlog]) -> Totals:
    open_of: dict[str, int] = {}
    waiting_in: dict[Queue, int] = {}
    ended_per_s: dict[Queue, float] = {}
    waiting_inside: dict[tuple[str, str], int] = {}
    for report in reports:
        for held in report.accounts:
            open_of[held.account] = open_of.get(held.account, 0) + held.running + held.waiting
        for queue in report.models:
            name = (queue.model, queue.service_class)
            waiting_in[name] = waiting_in.get(name, 0) + queue.waiting
            ended_per_s[name] = ended_per_s.get(name, 0.0) + queue.ended_per_s
        for inside in report.regions:
            place = (inside.model, inside.region)
            waiting_inside[place] = waiting_inside.get(place, 0) + inside.waiting
    return Totals(open_of=open_of, waiting_in=waiting_in, ended_per_s=ended_per_s, waiting_inside=waiting_inside)


class BacklogFeed:
    """Keeps ``Backlogs`` up to date in this process; they are asked with ``now_s()``."""

    def __init__(self, core: Link) -> None:
        """Hear through ``core``; ``start`` begins."""
        self._core = core
        self._hearing = Hearing(core)
        self._listener: Listener | None = None
        self._watchers: list[Callable[[str], None]] = []
        self.backlogs = Backlogs(now_s=self.now_s())

    async def start(self) -> None:
        """Begin to hear."""
        await self._hearing.start()
        self.backlogs = Backlogs(now_s=self.now_s())
        self._listener = await self._core.listen(subjects.BACKLOG_ALL, self._on_report)

    async def stop(self) -> None:
        """Hear no more."""
        if self._listener is not None:
            await self._listener.close()
        await self._hearing.stop()

    def now_s(self) -> float:
        """Seconds in which dispatchers could have been heard: none while this process or the broker stands still."""
        return self._hearing.now_s()

    def subscribe(self, watcher: Callable[[str], None]) -> None:
        """Call ``watcher`` with the dispatcher's name after each report."""
        self._watchers.append(watcher)

    def _on_report(self, delivery: Delivery) -> None:
        with suppress(StreamsError):
            report = decode(delivery.data, Backlog)
            dispatcher = delivery.subject.partition(".")[2]
            self.backlogs.hear(dispatcher, report, now_s=self.now_s())
            for watcher in self._watchers:
                watcher(dispatcher)
