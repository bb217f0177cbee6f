"""`ig3 dead`: tasks that died on a real mesh, looked at, tried again and let go."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mesh.bus.answer import follow
from mesh.errors import DeadLetterError, TaskRefused
from mesh.inspection.dead_letters import DeadLetter, drop, letter, letters, redrive
from mesh.inspection.task_records import Submitted, find, latest, look_up
from nodes.engine import EngineSpec
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.errors import InvalidTaskId
from streams.events import AttemptFailure, DeadKept, DeadRedriven, TaskDead, TaskError
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import token
from tests.mesh_in_process import LIMIT_S, InProcessMesh, text_of
from tests.paced_engine import Pace, PacedEngine
from tests.processes import PATIENCE_S, until

IG3 = Path(sys.executable).with_name("ig3")
MINUTE_MS = 60_000
TOKENS = 5
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path) as running:
        await running.add_dispatcher(max_attempts=1)
        yield running


async def die(mesh: InProcessMesh, *, deadline_at_ms: int | None = None) -> DeadLetter:
    """Have the mesh lose its only node in the middle of an answer, which is one node too many."""
    pace, feed = Pace(), mesh.dispatchers[0].feed
    node = await mesh.add_node("n1", interval_s=0.2, engine=PacedEngine(EngineSpec(engine="synthetic"), pace))
    pace.hold(2)
    key = await mesh.submit(tokens=TOKENS, text="a question", service_class="batch", deadline_at_ms=deadline_at_ms)
    async with asyncio.timeout(LIMIT_S):
        async for steps in follow(mesh.bus.source, key):
            if text_of(steps):
                break

    def is_reported() -> bool:
        view = feed.roster.node(node.name, now_s=feed.now_s())
        return view is not None and view.status is not None and bool(view.status.running)

    # A node that has never told of its task is asked for it a few times first, however long that takes.
    await until(is_reported)
    await node.vanish()
    assert (await mesh.steps(key))[-1].state.outcome == "dead"
    return await letter(mesh.bus, key.task)


async def ig3(mesh: InProcessMesh, *arguments: str) -> subprocess.CompletedProcess[str]:
    def run() -> subprocess.CompletedProcess[str]:
        place = {"IG3_NATS": mesh.server.url.removeprefix("nats://"), "IG3_DATA_DIR": str(mesh.folder)}
        command = [str(IG3), *arguments]
        return subprocess.run(command, env=place, cwd=mesh.folder, capture_output=True, text=True, timeout=PATIENCE_S)

    return await asyncio.to_thread(run)


async def lines(mesh: InProcessMesh, *arguments: str) -> list[dict[str, Any]]:
    done = await ig3(mesh, "dead", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def redriven(mesh: InProcessMesh, of: TaskKey) -> list[Submitted]:
    return [one async for one in latest(mesh.bus) if one.event is not None and one.event.redrive_of == of.task]


async def test_an_operator_looks_at_a_dead_task_and_has_it_tried_again(mesh: InProcessMesh) -> None:
    dead = await die(mesh)
    task = dead.key.task
    (line,) = await lines(mesh, "list")
    assert line | {"died_at": "", "message": ""} == {
        "task": task,
        "account": "local",
        "model": "synthetic",
        "died_at": "",
        "state": "waiting",
        "code": "attempts_exhausted",
        "message": "",
    }
    (report,) = await lines(mesh, "show", task)
    assert [(failure["node"], failure["code"]) for failure in report["failures"]] == [("n1", "node_lost")]
    assert report["messages"] == [{"role": "user", "content": "a question"}]
    assert report["text"] == text_of(await mesh.steps(dead.key)) != ""
    shown = (await ig3(mesh, "dead", "show", task)).stdout
    assert "user: a question" in shown
    assert "attempt 1 on n1: node_lost" in shown

    await mesh.add_node("n2")
    done = await ig3(mesh, "dead", "redrive", task)
    (again,) = await redriven(mesh, dead.key)
    assert done.stdout == f"{again.key.task}\n"
    assert again.service_class == "batch"
    assert (await mesh.steps(again.key))[-1].state.outcome == "completed"
    assert len(text_of(await mesh.steps(again.key)).split()) == TOKENS

    assert await lines(mesh, "list") == []
    (decided,) = await lines(mesh, "list", "--all")
    assert (decided["state"], decided["redriven_as"]) == ("redriven", again.key.task)
    refused = await ig3(mesh, "dead", "redrive", task)
    assert refused.returncode == 1
    assert f"was redriven as {again.key.task}" in refused.stderr
    assert len((await ig3(mesh, "dead", "redrive", "--again", task)).stdout.split()) == 1
    assert len(await redriven(mesh, dead.key)) == 2


async def test_two_operators_have_it_tried_again_once(mesh: InProcessMesh) -> None:
    dead = await die(mesh, deadline_at_ms=now_ms() + 10 * MINUTE_MS)
    other = await mesh.new_bus("other")
    results = await asyncio.gather(
        *(redrive(bus, dead.key.task) for bus in (mesh.bus, other) for _ in range(3)), return_exceptions=True
    )
    keys = {result for result in results if isinstance(result, TaskKey)}
    assert all(isinstance(result, (TaskKey, DeadLetterError)) for result in results)
    (again,) = await redriven(mesh, dead.key)
    assert keys == {again.key}
    # It has as much time as the first one had, counted from now.
    first = await find(mesh.bus, dead.key.task)
    assert first.event is not None
    assert again.event is not None
    assert first.event.deadline_at_ms is not None
    assert again.event.deadline_at_ms is not None
    assert 0 < again.event.deadline_at_ms - first.event.deadline_at_ms < MINUTE_MS


async def test_a_redrive_that_was_cut_off_is_finished_under_the_id_that_it_was_given(mesh: InProcessMesh) -> None:
    dead = await die(mesh)
    decided = DeadRedriven(at_ms=now_ms(), task=new_task_id())
    await mesh.bus.core.append(subjects.dead(dead.key), encode(decided))
    assert (await redrive(mesh.bus, dead.key.task)).task == decided.task
    assert [one.key.task for one in await redriven(mesh, dead.key)] == [decided.task]


async def test_what_is_dropped_or_unknown_is_refused_with_the_reason(mesh: InProcessMesh) -> None:
    dead = await die(mesh)
    task = dead.key.task
    unknown = new_task_id()
    done = await ig3(mesh, "dead", "drop", unknown, task, "--reason", "it kills the engine")
    assert (done.returncode, done.stdout) == (1, f"{task} dropped\n")
    assert f"no task {unknown} is kept here" in done.stderr
    assert await letters(mesh.bus, account=dead.key.account) == [await letter(mesh.bus, task)]
    assert (await letter(mesh.bus, task)).word == "dropped"
    with pytest.raises(DeadLetterError, match="was dropped: it kills the engine"):
        await redrive(mesh.bus, task)
    with pytest.raises(DeadLetterError, match="was dropped"):
        await drop(mesh.bus, task, reason="again")
    assert "is not a task id" in (await ig3(mesh, "dead", "show", "nonsense")).stderr

    await mesh.add_node("n2")
    alive = await mesh.submit(tokens=1)
    await mesh.steps(alive)
    with pytest.raises(DeadLetterError, match="is not dead: it ended as completed"):
        await redrive(mesh.bus, alive.task)


async def test_a_dead_task_whose_content_is_gone_is_told_so_and_can_still_be_seen(mesh: InProcessMesh) -> None:
    key, error = mesh.key(), TaskError(code="attempts_exhausted", message="no", status=502)
    failure = AttemptFailure(attempt=1, node="n1", code="node_lost", message="gone")
    end = TaskDead(at_ms=0, model="synthetic", final_n=3, error=error, failures=(failure,))
    await mesh.bus.core.append(subjects.ended(key), encode(end))
    await mesh.bus.core.append(subjects.dead(key), encode(DeadKept(at_ms=0, model="synthetic", error=error)))
    with pytest.raises(DeadLetterError, match="no longer kept"):
        await redrive(mesh.bus, key.task)
    (report,) = await lines(mesh, "show", key.task)
    assert "messages" not in report
    assert [failure["attempt"] for failure in report["failures"]] == [1]
    # What is no letter does not hide the others.
    await mesh.bus.core.append(subjects.dead(mesh.key()), b"rubbish")
    await mesh.bus.core.append(subjects.dead(mesh.key()), encode(DeadRedriven(at_ms=0, task="x")))
    assert [one.key for one in await letters(mesh.bus)] == [key]


async def test_a_dead_task_is_not_mixed_up_with_one_of_the_same_id_in_another_account(mesh: InProcessMesh) -> None:
    dead = await die(mesh)
    await mesh.add_node("n2")
    twin = await mesh.submit(TaskKey(token("another"), dead.key.task), text="not that one")
    assert (await mesh.steps(twin))[-1].state.outcome == "completed"

    assert (await letter(mesh.bus, dead.key.task)).key == dead.key
    (report,) = await lines(mesh, "show", dead.key.task)
    assert report["messages"] == [{"role": "user", "content": "a question"}]
    again = await redrive(mesh.bus, dead.key.task)
    assert again.account == dead.key.account
    asked = await find(mesh.bus, again.task)
    assert asked.event is not None
    assert asked.event.messages[0].content == "a question"


async def test_an_id_that_several_accounts_have_is_not_enough_for_an_operator(mesh: InProcessMesh) -> None:
    dead = await die(mesh)
    twin = TaskKey(token("another"), dead.key.task)
    await mesh.bus.core.append(subjects.dead(twin), encode(dead.kept))
    await mesh.submit(twin, text="not that one")

    names = {key: f"{key.account}/{key.task}" for key in (dead.key, twin)}
    with pytest.raises(DeadLetterError, match=rf"say whose you mean: {names[twin]}, {names[dead.key]}"):
        await drop(mesh.bus, dead.key.task, reason="which?")
    with pytest.raises(TaskRefused, match="say whose you mean"):
        await look_up(mesh.bus, dead.key.task)

    assert (await look_up(mesh.bus, names[twin])).key == twin
    assert (await drop(mesh.bus, names[twin], reason="of no use")).key == twin
    assert [one.word for one in await letters(mesh.bus, account=dead.key.account)] == ["waiting"]
    with pytest.raises(InvalidTaskId, match="neither a task id nor"):
        await look_up(mesh.bus, f"no.account/{dead.key.task}")
