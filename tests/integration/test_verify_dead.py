"""`ig3 events verify` and dead letters: each dead end is kept, and nothing is kept that has not died."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.history.snapshots import SnapshotStore
from streams import subjects
from streams.codec import encode
from streams.events import DeadDropped, TaskEnded
from streams.subjects import TaskKey
from tests.integration.written_tasks import DIED, ERROR, keep, named, report_on, write, written
from tests.mesh_in_process import InProcessMesh
from tests.patient_links import wait_for_answers


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of the broker counts as lost because this machine is slow."""
    wait_for_answers(monkeypatch)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "snapshots")


async def died(mesh: InProcessMesh, *, told: bool = True) -> TaskKey:
    """A task that is dead at once, and whose letter is still to come."""
    key = mesh.key()
    await mesh.bus.core.append(subjects.ended(key), encode(DIED))
    if told:
        await write(mesh, key, TaskEnded(n=1, at_ms=1, outcome="dead", error=ERROR))
    return key


async def test_dead_tasks_that_are_kept_are_good_and_one_that_is_about_to_be_kept_is_too(
    mesh: InProcessMesh, store: SnapshotStore
):
    key = await died(mesh)
    await keep(mesh, key, DIED)
    await mesh.bus.core.append(subjects.dead(key), encode(DeadDropped(at_ms=2, reason="seen")))
    await died(mesh, told=False)
    report = await report_on(mesh, store)

    assert named(report) == []
    assert (report.comparisons[-1].projection, report.comparisons[-1].compared) == ("dead letters", 1)


async def test_a_dead_task_that_nobody_keeps_is_named(mesh: InProcessMesh, store: SnapshotStore):
    key = await died(mesh)

    assert named(await report_on(mesh, store)) == [
        f"dead letters: local/{key.task}: it is dead, readers were told, and DEAD does not keep it"
    ]


async def test_a_letter_of_a_task_that_is_not_dead_or_died_of_something_else_is_named(
    mesh: InProcessMesh, store: SnapshotStore
):
    whole, unknown, other = await written(mesh), mesh.key(), await died(mesh)
    for key in (whole, unknown):
        await keep(mesh, key, DIED)
    await keep(mesh, other, DIED, model="another")

    assert named(await report_on(mesh, store)) == sorted(
        [
            f"dead letters: local/{whole.task}: DEAD keeps it, and ENDED does not say that it is dead",
            f"dead letters: local/{unknown.task}: DEAD keeps it, and ENDED does not say that it is dead",
            f"dead letters: local/{other.task}: DEAD gives another model or error than ENDED",
        ]
    )


async def test_letters_older_than_all_ends_say_nothing_any_more(mesh: InProcessMesh, store: SnapshotStore):
    await keep(mesh, mesh.key(), DIED)
    await written(mesh)
    report = await report_on(mesh, store)

    assert named(report) == []
    assert report.comparisons[-1].note == "1 too old to compare"
