"""`ig3 events verify`: what is believed equals what the log adds up to, and every difference is named."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.projections import projection_desk
from mesh.bus.answer import Step
from mesh.history.snapshots import SnapshotStore
from mesh.inspection.findings import Comparison, Report
from streams import subjects
from streams.codec import decode_end_event, encode
from streams.events import (
    TaskAssigned,
    TaskChunk,
    TaskCompleted,
    TaskDead,
    TaskEnded,
)
from streams.messages import Cancel
from streams.subjects import MESH, TaskKey
from streams.tasks.chat import Usage
from streams.tasks.task import TaskState
from streams.tokens import token
from streams.topology import stream_specs
from tests.integration.written_tasks import NODE, announce, completed, keep, named, report_on, write, written
from tests.mesh_in_process import InProcessMesh, RunningDispatcher
from tests.patient_links import wait_for_answers
from tests.processes import until
from tests.unit.golden_logs import LOGS, read_log, read_meaning


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


def of_ends(report: Report) -> Comparison:
    return next(one for one in report.comparisons if one.projection == "ends")


async def answering(mesh: InProcessMesh, running: RunningDispatcher) -> None:
    dispatcher = running.dispatcher
    folds = (dispatcher.devices.told, dispatcher.regards.told, running.groups.log.told)
    desk = projection_desk(running.bus, running.feed, dispatcher.lives, folds=folds)
    await desk.start()
    mesh.stack.push_async_callback(desk.stop)


async def test_a_mesh_at_work_is_what_its_log_says(mesh: InProcessMesh, store: SnapshotStore):
    first, second = await mesh.add_dispatcher("d1"), await mesh.add_dispatcher("d2")
    await answering(mesh, first)
    await answering(mesh, second)
    await mesh.add_node("n1", slots=8, delay_ms=5, interval_s=5)
    keys = [await mesh.submit(tokens=30) for _ in range(12)]
    waiting, endless = await mesh.submit(model="promised"), await mesh.submit(tokens=100_000)
    for key in (waiting, endless):
        await mesh.reached(key, 1)

    meanwhile = await report_on(mesh, store)
    user = await mesh.connect_user()
    await user.request(subjects.user_api(endless.account, "cancel"), encode(Cancel(task=endless.task)))
    for key in (*keys, endless):
        await mesh.steps(key)
    # Readers hear of an end before its dispatcher has put the task down.
    await until(lambda: {*first.dispatcher.lives, *second.dispatcher.lives} == {waiting})
    afterwards = await report_on(mesh, store)

    assert (named(meanwhile), named(afterwards)) == ([], [])
    assert {one.projection: one.compared for one in afterwards.comparisons} == {
        **{"roster.models": 2, "roster.devices": 2},
        # The identity service has these two as well.
        **{"devices": 3, "access": 1, "groups": 2, "work": 2},
        **{"running tasks": 1, "ends": 13, "dead letters": 0},
    }
    assert {one.projection: one.compared for one in meanwhile.comparisons}["running tasks"] > 1


async def test_an_empty_mesh_without_services_is_verified_too(mesh: InProcessMesh, store: SnapshotStore):
    report = await report_on(mesh, store)
    assert report.is_equal
    assert [one.compared for one in report.comparisons] == [0, 0, 1, 1, 0, 0, 0, 0, 0]


async def test_a_service_whose_roster_differs_is_named(mesh: InProcessMesh, store: SnapshotStore):
    running = await mesh.add_dispatcher("d1")
    await answering(mesh, running)
    await announce(mesh, 2)
    await running.feed.models.reach(2)
    running.feed.roster._replicas[token("n0")].clear()

    assert named(await report_on(mesh, store)) == [
        "roster.models: d1: at sequence 2 of MODELS the log adds up to something else"
    ]


async def test_a_dispatcher_that_holds_another_state_is_named(mesh: InProcessMesh, store: SnapshotStore):
    running = await mesh.add_dispatcher("d1")
    await answering(mesh, running)
    key = await mesh.submit(model="promised")
    await mesh.reached(key, 1)
    record = running.dispatcher.lives[key].record
    while record.state.n < 1:  # noqa: ASYNC110 - its own acknowledgement may come behind what readers see
        await asyncio.sleep(0.01)
    record.state = TaskState(n=1, tokens=5)

    (difference,) = named(await report_on(mesh, store))
    assert difference.startswith(f"running tasks: local/{key.task}: d1 has come to counter 1")


async def test_good_ends_are_good_and_one_that_is_not_told_is_only_noted(mesh: InProcessMesh, store: SnapshotStore):
    await written(mesh)
    key = await written(mesh, end=False)
    await mesh.bus.core.append(subjects.ended(key), encode(completed()))
    report = await report_on(mesh, store)

    assert named(report) == []
    assert of_ends(report).note == "1 not told to readers yet"


@pytest.mark.parametrize(
    ("end", "differences"),
    [
        (completed(final_n=2), ["ENDED says final_n 2, the log has come to 3"]),
        (completed(usage=Usage(prompt_tokens=1, completion_tokens=3)), ["ENDED gives another usage than the log"]),
        (completed(shares=()), ["ENDED gives other shares than the log"]),
        (completed(finish_reason="length"), ["ENDED says it finished by length, the log says stop"]),
    ],
)
async def test_an_end_that_is_not_what_the_log_says_is_named(
    mesh: InProcessMesh, store: SnapshotStore, end: TaskCompleted, differences: list[str]
):
    key = await written(mesh, end=False)
    await mesh.bus.core.append(subjects.ended(key), encode(end))

    assert named(await report_on(mesh, store)) == [f"ends: local/{key.task}: {one}" for one in differences]


async def test_a_marker_that_tells_another_end_is_named(mesh: InProcessMesh, store: SnapshotStore):
    key = await written(mesh, end=False)
    await mesh.bus.core.append(subjects.ended(key), encode(completed()))
    await write(mesh, key, TaskEnded(n=4, at_ms=1, outcome="cancelled"))

    (difference,) = named(await report_on(mesh, store))
    assert "ENDED says completed, the marker says cancelled" in difference


async def test_a_marker_without_an_end_is_named(mesh: InProcessMesh, store: SnapshotStore):
    key = await written(mesh, end=False)
    await write(mesh, key, TaskEnded(n=4, at_ms=1, outcome="completed"))

    assert named(await report_on(mesh, store)) == [
        f"ends: local/{key.task}: an ended marker stands without an end in ENDED"
    ]


async def test_a_hole_in_the_counter_is_named(mesh: InProcessMesh, store: SnapshotStore):
    key = mesh.key()
    await write(mesh, key, TaskAssigned(n=1, at_ms=1, attempt=1, node=NODE, policy="p"))
    await write(mesh, key, TaskAssigned(n=3, at_ms=1, attempt=2, node=NODE, policy="p"))

    assert named(await report_on(mesh, store)) == [f"ends: local/{key.task}: a hole before counter 3"]


async def test_an_end_whose_whole_log_is_missing_is_named(mesh: InProcessMesh, store: SnapshotStore):
    key = mesh.key()
    await mesh.bus.core.append(subjects.ended(key), encode(completed()))

    assert any("the log has come to 0" in one for one in named(await report_on(mesh, store)))


async def test_two_ends_of_one_task_and_ends_of_no_version_we_know_are_named(mesh: InProcessMesh, store: SnapshotStore):
    key = mesh.key()
    other = "0" if not subjects.ended(key).startswith("ended.0") else "1"
    await mesh.bus.core.append(f"ended.{other}.local.{key.task}", encode(completed()))
    newer = mesh.key()
    await mesh.bus.core.append(subjects.ended(newer), b"\x82\xa4type\xb1task.completed.v9\xa5at_ms\x01")

    found = named(await report_on(mesh, store))
    assert len(found) == 2
    assert "does not spell its task" in found[0]
    assert "task.completed.v9" in found[1]


async def test_what_counts_for_nobody_is_counted_and_is_no_difference(mesh: InProcessMesh, store: SnapshotStore):
    key = await written(mesh)
    await write(mesh, key, TaskChunk(n=5, attempt=1, offset=7, text="late"), NODE)
    await write(mesh, key, TaskChunk(n=2, attempt=1, offset=0, text="again"), "zombie")
    await mesh.bus.edge.append(subjects.result(key, MESH), b'{"stream":"TASKS","seq":1}')
    await mesh.bus.edge.append("results.0.local.no-task.mesh", b"noise")
    report = await report_on(mesh, store)

    assert named(report) == []
    assert (report.refused_writes, report.noise) == (2, 2)


async def test_ends_whose_content_has_expired_are_passed_over(mesh: InProcessMesh, store: SnapshotStore):
    old = TaskKey(token("local"), token("019000000000" + mesh.key().task[12:]))
    await mesh.bus.core.append(subjects.ended(old), encode(completed()))
    for _ in range(20):
        await written(mesh)
    # What expires, expires from the front: as if the first messages of every stream were gone.
    for spec in stream_specs():
        if spec.name.startswith("RESULTS"):
            await expire_first(mesh, spec.name)
    report = await report_on(mesh, store)

    assert named(report) == []
    assert of_ends(report).note.endswith("too old to compare")


async def expire_first(mesh: InProcessMesh, stream: str) -> None:
    """Shorten a stream to less than it holds: it drops from the front."""
    info = json.loads((await mesh.bus.edge.request(f"$JS.API.STREAM.INFO.{stream}", b"")).data)
    count = info["state"]["messages"]
    if count < 2:
        return
    config = {**info["config"], "max_msgs": count - 1}
    answer = await mesh.bus.edge.request(f"$JS.API.STREAM.UPDATE.{stream}", json.dumps(config).encode())
    assert "error" not in json.loads(answer.data)


async def test_old_logs_are_what_they_were_on_a_real_broker(mesh: InProcessMesh, store: SnapshotStore):
    for name in LOGS:
        for stream, subject, body in read_log(name):
            await (mesh.bus.core if stream == "ENDED" else mesh.bus.edge).append(subject, body)
            if stream == "ENDED" and isinstance(end := decode_end_event(body), TaskDead):
                await keep(mesh, subjects.parse_ended(subject), end)
    report = await report_on(mesh, store)

    assert named(report) == []
    assert of_ends(report).compared == len(LOGS) - 1
    for name in LOGS:
        if name != "running":
            key = subjects.parse_submitted(read_log(name)[0].subject).key
            assert text_seen(await mesh.steps(key)) == read_meaning(name).text


def text_seen(steps: list[Step]) -> str:
    """What stands on a reader's screen in the end: an attempt that begins anew wipes it."""
    text = ""
    for step in steps:
        text = "" if isinstance(step.event, TaskAssigned) and step.event.seam == "restarted" else text
        text += step.event.text if isinstance(step.event, TaskChunk) else ""
    return text
