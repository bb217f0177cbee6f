"""`ig3 events verify`: what is said of each fold of a register, and of ENDED, is what the log adds up to."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.roster.feed import RosterFeed
from mesh.access.log import AccessLog
from mesh.bus.provision import provision
from mesh.history.checkpoint import Checkpoint, Projection
from mesh.history.group_log import GroupLog, GroupsProjection
from mesh.history.projection_desk import ProjectionDesk, fold_digest
from mesh.history.replay import replay
from mesh.history.roster_log import RosterDevices, RosterModels
from mesh.history.snapshots import SnapshotStore
from mesh.history.stream_facts import stream_facts
from mesh.history.work_log import WorkLog
from mesh.identity.device_log import DevicesProjection
from streams import subjects
from streams.access.fold import Access
from streams.codec import encode
from streams.consumers import consumer_specs
from streams.devices.fold import Devices
from streams.devices.reputation import WorkDone
from streams.devices.roster import Roster
from streams.events import (
    AccountOpened,
    DeviceRegistered,
)
from streams.groups.events import GroupDissolved, GroupProposed
from streams.groups.fold import Groups
from streams.messages import Projections
from streams.tokens import token
from streams.topology import ACCESS, DEVICES, ENDED, GROUPS, MODELS, Retention, stream_specs
from tests.integration.written_tasks import NODE, announce, completed, named, report_on
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


SHORT = Retention(content=timedelta(seconds=1), ends=timedelta(seconds=1))
DEVICE_TOO_MANY, ACCOUNT_TOO_MANY = Devices(), Access()
DEVICE_TOO_MANY.apply(NODE, DeviceRegistered(at_ms=1, node=NODE, software="s"))
ACCOUNT_TOO_MANY.apply(token("acme"), AccountOpened(at_ms=1, by="x"))
GROUP_TOO_MANY, WORK_TOO_MUCH = Groups(), WorkDone()
PROPOSED = GroupProposed(at_ms=1, leader="n1", model="m", memory_bytes=1, fingerprint="f")
GROUP_TOO_MANY.apply(token("g"), PROPOSED)
WORK_TOO_MUCH.apply(completed())


@pytest.mark.parametrize(
    ("wrong", "stream"),
    [
        (DevicesProjection(DEVICE_TOO_MANY), DEVICES),
        (AccessLog(ACCOUNT_TOO_MANY), ACCESS),
        (GroupsProjection(GROUP_TOO_MANY), GROUPS),
        (WorkLog(WORK_TOO_MUCH), ENDED),
    ],
    ids=["device", "account", "group", "work"],
)
async def test_a_service_that_knows_of_what_no_event_tells_is_named(
    mesh: InProcessMesh, store: SnapshotStore, wrong: Projection, stream: str
):
    told = Projections(service="s", folds=(fold_digest(wrong, 0),))
    desk = ProjectionDesk(mesh.bus.core, lambda: (told,))
    await desk.start()
    mesh.stack.push_async_callback(desk.stop)

    assert named(await report_on(mesh, store)) == [
        f"{wrong.name}: s: at sequence 0 of {stream} the log adds up to something else"
    ]


async def test_a_service_is_heard_though_the_broker_stands_still_with_its_answer(
    mesh: InProcessMesh, store: SnapshotStore
):
    pid = mesh.server.pid
    assert pid is not None

    def answer() -> tuple[Projections]:
        os.kill(pid, signal.SIGSTOP)
        asyncio.get_running_loop().call_later(1.2, os.kill, pid, signal.SIGCONT)
        return (Projections(service="s", folds=(fold_digest(DevicesProjection(DEVICE_TOO_MANY), 0),)),)

    desk = ProjectionDesk(mesh.bus.core, answer)
    await desk.start()
    mesh.stack.push_async_callback(desk.stop)

    assert named(await report_on(mesh, store)) == [
        "devices: s: at sequence 0 of DEVICES the log adds up to something else"
    ]


async def test_what_ended_tasks_add_up_to_is_not_compared_once_the_first_of_them_has_expired(
    mesh: InProcessMesh, store: SnapshotStore
):
    await provision(mesh.bus.links, stream_specs(retention=SHORT), consumer_specs(), shorten=True)
    await mesh.bus.core.append(subjects.ended(mesh.key()), encode(completed()))
    while (await stream_facts(mesh.bus.core, ENDED)).messages:  # noqa: ASYNC110 - the broker tells nobody what expires
        await asyncio.sleep(0.05)

    work = next(one for one in (await report_on(mesh, store)).comparisons if one.projection == "work")
    assert (work.compared, work.note.partition(",")[0]) == (0, "the first events of ENDED have expired")


async def test_groups_that_begin_at_their_snapshot_equal_those_from_the_first_event(
    mesh: InProcessMesh, store: SnapshotStore
):
    first = GroupLog(mesh.bus.core, store)
    await first.start()
    await first.append(token("g1"), PROPOSED)
    await first.save()
    await first.append(token("g1"), GroupDissolved(at_ms=2, by="x", reason="over"))
    await first.stop()
    later, whole = GroupLog(mesh.bus.core, store), GroupLog(mesh.bus.core)
    for log in (later, whole):
        await log.start()
        await log.stop()

    assert later.told() == whole.told() == first.told()
    report = await report_on(mesh, store)
    groups = next(one for one in report.comparisons if one.projection == "groups")
    assert (named(report), groups.note.partition(":")[0]) == ([], "from the snapshot at 1 on")


async def test_a_snapshot_of_devices_or_accounts_that_is_no_prefix_of_the_log_is_named(
    mesh: InProcessMesh, store: SnapshotStore
):
    await announce(mesh, 1)
    await mesh.bus.core.append(subjects.access(token("acme")), encode(AccountOpened(at_ms=1, by="x")))
    blank: tuple[tuple[str, Projection], ...] = (
        (DEVICES, DevicesProjection(Devices())),
        (ACCESS, AccessLog(Access())),
    )
    for stream, projection in blank:
        checkpoint = Checkpoint(mesh.bus.core, stream, projection, store)
        await checkpoint.load()
        await checkpoint.save(1, "of no event", b"")

    assert {one.partition(":")[0] for one in named(await report_on(mesh, store))} == {"devices", "access"}


async def save_snapshots(mesh: InProcessMesh, store: SnapshotStore) -> None:
    """Save what both folds have come to, as a service does now and then."""
    for stream, projection in ((MODELS, RosterModels(Roster())), (DEVICES, RosterDevices(Roster()))):
        async with await replay(mesh.bus.core, stream, projection, snapshots=store) as done:
            await done.save()


async def test_snapshots_are_compared_and_the_rest_is_replayed_from_the_newest(
    mesh: InProcessMesh, store: SnapshotStore
):
    await announce(mesh, 20)
    await save_snapshots(mesh, store)
    await announce(mesh, 5, "later")
    report = await report_on(mesh, store)

    assert named(report) == []
    assert [one.compared for one in report.comparisons[:2]] == [2, 2]
    assert report.comparisons[0].note.startswith("from the snapshot at 20 on: 5 events")


async def test_a_snapshot_that_is_no_prefix_of_the_log_is_named(mesh: InProcessMesh, store: SnapshotStore):
    await announce(mesh, 3)
    wrong = Roster()
    checkpoint = Checkpoint(mesh.bus.core, MODELS, RosterModels(wrong), store)
    await checkpoint.load()
    await checkpoint.save(3, "models.n2.m2", b"")

    assert named(await report_on(mesh, store)) == [
        "roster.models: the newest snapshot and the rest: at sequence 3 of MODELS the log adds up to something else",
        "roster.models: the snapshot at 3: at sequence 3 of MODELS the log adds up to something else",
    ]


async def test_a_roster_that_begins_at_its_snapshot_equals_one_from_the_first_event(
    mesh: InProcessMesh, store: SnapshotStore
):
    await announce(mesh, 30)
    first = await started(mesh, store)
    await first.models.save()
    await first.devices.save()
    await announce(mesh, 5, "later")

    assert dump(await started(mesh, store)) == dump(await started(mesh, None))


@pytest.mark.parametrize("damage", ["cut", "newer", "ahead"])
async def test_a_roster_with_a_snapshot_of_no_use_is_read_from_the_log(
    mesh: InProcessMesh, store: SnapshotStore, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
):
    await announce(mesh, 30)
    checkpoint = Checkpoint(
        mesh.bus.core, MODELS, NewerModels(Roster()) if damage == "newer" else RosterModels(Roster()), store
    )
    await checkpoint.load()
    await checkpoint.save(99 if damage == "ahead" else 30, "models.n29.m2", b"")
    if damage == "cut":
        (path,) = (tmp_path / "snapshots").iterdir()
        path.write_bytes(path.read_bytes()[:-1])

    assert dump(await started(mesh, store)) == dump(await started(mesh, None))
    assert {
        "cut": "it is damaged",
        "newer": f"version is {NewerModels.version}, not {RosterModels.version}",
        "ahead": "which ends at 30",
    }[damage] in caplog.text


class NewerModels(RosterModels):
    version = RosterModels.version + 1


async def started(mesh: InProcessMesh, store: SnapshotStore | None) -> RosterFeed:
    feed = RosterFeed(mesh.bus, store)
    await feed.start()
    mesh.stack.push_async_callback(feed.stop)
    return feed


def dump(feed: RosterFeed) -> tuple[bytes, bytes, int, int]:
    return feed.roster.dump_models(), feed.roster.dump_devices(), feed.models.position, feed.devices.position
