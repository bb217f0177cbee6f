"""Telling what this process has made of the log: for `ig3 events verify`, which makes it anew and compares.

The answer is taken in one go, between two events, so that digests and positions belong together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streams import subjects
from streams.codec import encode
from streams.digest import digest_of, digest_of_task
from streams.messages import Projections, RosterDigest, TaskDigest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.dispatcher.life import TaskLife
    from gateway.roster_feed import RosterFeed
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Listener
    from mesh.bus.service_bus import Bus
    from streams.subjects import TaskKey


_PAGE: Final = 2000
"""Tasks in one message: some 300 KB."""


class ProjectionDesk:
    """Answers for one process: for its roster, and for the tasks that it holds if it is a dispatcher."""

    def __init__(self, bus: Bus, feed: RosterFeed, lives: Mapping[TaskKey, TaskLife] | None = None) -> None:
        """Prepare; ``lives`` are a dispatcher's tasks."""
        self._bus = bus
        self._feed = feed
        self._lives: Mapping[TaskKey, TaskLife] = {} if lives is None else lives
        self._listener: Listener | None = None

    async def start(self) -> None:
        """Begin to answer; start the roster feed first."""
        self._listener = await self._bus.core.listen(subjects.PROJECTIONS, self._on_request)

    async def stop(self) -> None:
        """Answer no more."""
        if self._listener is not None:
            await self._listener.close()

    def _on_request(self, delivery: Delivery) -> None:
        if not delivery.reply:
            return
        roster, tasks = self._roster(), self._tasks()
        pages = [tuple(tasks[first : first + _PAGE]) for first in range(0, len(tasks), _PAGE)] or [()]
        for number, page in enumerate(pages, 1):
            answer = Projections(service=self._bus.options.name, roster=roster, tasks=page, more=number < len(pages))
            self._bus.core.send(delivery.reply, encode(answer))

    def _roster(self) -> RosterDigest:
        roster = self._feed.roster
        return RosterDigest(
            models_sequence=self._feed.models.position,
            models=digest_of(roster.dump_models()),
            devices_sequence=self._feed.devices.position,
            devices=digest_of(roster.dump_devices()),
        )

    def _tasks(self) -> list[TaskDigest]:
        records = [life.record for life in self._lives.values()]
        return [
            TaskDigest(
                account=record.key.account,
                task=record.key.task,
                sequence=record.sequence,
                n=record.state.n,
                state=digest_of_task(record.state),
            )
            for record in records
        ]
