"""What a gateway or a dispatcher has made of the log: for `ig3 events verify`, which makes it anew and compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh.history.projection_desk import ProjectionDesk
from streams.digest import digest_of, digest_of_task
from streams.messages import Projections, RosterDigest, TaskDigest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gateway.dispatcher.life import TaskLife
    from gateway.roster.feed import RosterFeed
    from mesh.bus.service_bus import Bus
    from streams.messages import FoldDigest
    from streams.subjects import TaskKey


_PAGE: Final = 2000
"""Tasks in one message: some 300 KB."""

NO_TASKS: Final[Mapping[TaskKey, TaskLife]] = {}


def projection_desk(
    bus: Bus,
    feed: RosterFeed,
    lives: Mapping[TaskKey, TaskLife] = NO_TASKS,
    *,
    folds: Iterable[Callable[[], FoldDigest]] = (),
) -> ProjectionDesk:
    """Return what answers for one process.

    Args:
        bus: its own.
        feed: its roster.
        lives: the tasks that it holds, if it is a dispatcher.
        folds: what else it folds.
    """
    told = tuple(folds)

    def pages() -> Iterator[Projections]:
        tasks, roster, digests = _tasks(lives), _roster(feed), tuple(fold() for fold in told)
        parts = [tuple(tasks[first : first + _PAGE]) for first in range(0, len(tasks), _PAGE)] or [()]
        for number, part in enumerate(parts, 1):
            yield Projections(
                service=bus.options.name, roster=roster, folds=digests, tasks=part, more=number < len(parts)
            )

    return ProjectionDesk(bus.core, pages)


def _roster(feed: RosterFeed) -> RosterDigest:
    return RosterDigest(
        models_sequence=feed.models.position,
        models=digest_of(feed.roster.dump_models()),
        devices_sequence=feed.devices.position,
        devices=digest_of(feed.roster.dump_devices()),
    )


def _tasks(lives: Mapping[TaskKey, TaskLife]) -> list[TaskDigest]:
    return [
        TaskDigest(
            account=record.key.account,
            task=record.key.task,
            sequence=record.sequence,
            n=record.state.n,
            state=digest_of_task(record.state),
        )
        for record in (life.record for life in lives.values())
    ]
