"""Making every projection anew from the log, and comparing it with what is believed now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.access.reading import read_access
from mesh.inspection.findings import Report
from mesh.inspection.services import projections_of_services
from mesh.inspection.verify_dead import verify_dead
from mesh.inspection.verify_folds import verify_folds
from mesh.inspection.verify_tasks import verify_tasks
from streams.subjects import CHECKS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mesh.bus.service_bus import Bus
    from mesh.history.snapshots import SnapshotStore
    from streams.tokens import Token
    from streams.topology import StreamSpec


async def verify(bus: Bus, streams: Iterable[StreamSpec], snapshots: SnapshotStore) -> Report:
    """Verify all projections against the log; changes nothing.

    Args:
        bus: a bus of a service.
        streams: every stream of the mesh.
        snapshots: those of this machine.

    Raises:
        BusError: if the broker does not answer.
        UndecodableEvent: if a service of another version answers what this one cannot read.
    """
    answers = await projections_of_services(bus.core)
    comparisons, differences = await verify_folds(bus.core, answers, snapshots)
    results = [spec.name for spec in streams if spec.subjects[0].startswith("results.")]
    tasks = await verify_tasks(bus, results, answers, await _erased(bus))
    dead = await verify_dead(bus, tasks.dead)
    return Report(
        comparisons=(*comparisons, *tasks.comparisons, dead.comparison),
        differences=(*differences, *tasks.differences, *dead.differences),
        refused_writes=tasks.refused_writes,
        noise=tasks.noise,
    )


async def _erased(bus: Bus) -> dict[Token, int]:
    """Accounts whose content was erased, and up to when. With each of them go all checks of answers."""
    accounts = (await read_access(bus.core)).access.accounts()
    erased = {one.account: one.erased_at_ms for one in accounts if one.erased_at_ms is not None}
    return {**erased, CHECKS: max(erased.values(), default=0)}
