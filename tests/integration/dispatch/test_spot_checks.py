"""Greedy answers that another node writes once more: what comes of it in DEVICES, and what never does."""

import asyncio
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from gateway.dispatcher import spot_checks
from gateway.dispatcher.ending import stored_end
from mesh.history.ordered import OrderedReader
from mesh.history.stream_facts import Recorded, stream_facts
from streams.codec import decode, decode_device_event
from streams.devices.events import DeviceChecked
from streams.devices.reputation import NOTHING
from streams.events import CheckOf, TaskAssigned, TaskCompleted, TaskFailed, TaskSubmitted
from streams.subjects import CHECKS, TaskKey, parse_submitted
from streams.tokens import token
from streams.topology import DEAD, DEVICES, TASKS
from tests.integration.hostile.rogue import Rogue
from tests.mesh_in_process import LIMIT_S, InProcessMesh
from tests.processes import until

FIRST_MS, SECOND_MS = 1, 4
"""Pauses between tokens: who has the shortest is chosen first, and who has none claims no speed and comes last."""


class Found(NamedTuple):
    node: str
    other: str
    agreed: bool
    undecided: bool


async def checks(mesh: InProcessMesh, count: int) -> list[DeviceChecked]:
    """Wait for so many events of checks, and return them in their order."""
    found: list[DeviceChecked] = []
    async with asyncio.timeout(LIMIT_S), OrderedReader(mesh.bus.core, DEVICES, filters=("devices.*.checked",)) as all_:
        while len(found) < count:
            events = [decode_device_event(recorded.data) for recorded in await all_.take(wait_s=0.2)]
            found += [event for event in events if isinstance(event, DeviceChecked)]
    return found


def told(found: list[DeviceChecked]) -> set[Found]:
    return {Found(event.node, event.other, event.agreed, event.undecided) for event in found}


def told_of(found: list[DeviceChecked]) -> set[str]:
    return {event.node for event in found}


async def submissions(mesh: InProcessMesh) -> list[Recorded]:
    """All tasks that were ever submitted, in their order."""
    found: list[Recorded] = []
    async with asyncio.timeout(LIMIT_S), OrderedReader(mesh.bus.edge, TASKS) as reader:
        while not reader.is_caught_up:
            found += await reader.take(wait_s=1)
    return found


async def questions_of_the_mesh(mesh: InProcessMesh) -> list[TaskKey]:
    keys = [parse_submitted(recorded.subject).key for recorded in await submissions(mesh)]
    return [key for key in keys if key.account == CHECKS]


async def asked(mesh: InProcessMesh) -> TaskKey:
    """A greedy answer that a user has got."""
    key = await mesh.submit(temperature=0.0)
    assert (await mesh.steps(key))[-1].state.outcome == "completed"
    return key


async def test_two_nodes_that_agree(mesh: InProcessMesh):
    await mesh.add_dispatcher(spot_checks=1.0)
    await mesh.add_node("first", delay_ms=FIRST_MS)
    await mesh.add_node("second", delay_ms=SECOND_MS)
    key = await asked(mesh)

    found = await checks(mesh, 1)

    assert told(found) == {Found("first", "second", agreed=True, undecided=False)}
    assert (found[0].task, found[0].detail) == (key.task, "")
    (own,) = await questions_of_the_mesh(mesh)
    end = await stored_end(mesh.bus, own)
    assert isinstance(end, TaskCompleted)
    assert [share.node for share in end.shares] == ["second"]


async def test_two_nodes_that_differ_and_nobody_to_say_who_is_wrong(mesh: InProcessMesh):
    await mesh.add_dispatcher(spot_checks=1.0)
    await mesh.add_node("first", delay_ms=FIRST_MS, synthetic="varies")
    await mesh.add_node("second", delay_ms=SECOND_MS)
    await asked(mesh)

    found = await checks(mesh, 2)

    assert told(found) == {
        Found("first", "second", agreed=False, undecided=True),
        Found("second", "first", agreed=False, undecided=True),
    }
    assert found[0].detail.startswith("the texts differ at character 0 of ")


@pytest.mark.parametrize("wrong", ["first", "second"])
async def test_a_third_node_says_which_of_two_is_wrong(mesh: InProcessMesh, wrong: str):
    running = await mesh.add_dispatcher(spot_checks=1.0)
    await mesh.add_node("first", delay_ms=FIRST_MS, synthetic="varies" if wrong == "first" else "continues")
    await mesh.add_node("second", delay_ms=SECOND_MS, synthetic="varies" if wrong == "second" else "continues")
    await mesh.add_node("third")
    await asked(mesh)

    found = await checks(mesh, 2)

    assert told(found) == {Found(node, "third", agreed=node != wrong, undecided=False) for node in ("first", "second")}
    assert {event.node: bool(event.detail) for event in found} == {node: node == wrong for node in ("first", "second")}
    for key in await questions_of_the_mesh(mesh):
        assert (await mesh.steps(key))[-1].state.outcome == "completed"
    # The one that was wrong counts for less from now on, once the dispatcher has read that.
    devices = running.dispatcher.devices.devices
    await until(lambda: all((one := devices.device(token(name))) and one.checks != NOTHING for name in told_of(found)))
    doubted = {
        candidate.node
        for step in await mesh.steps(await mesh.submit())
        if isinstance(step.event, TaskAssigned)
        for candidate in step.event.candidates
        if any(part.name == "doubt" for part in candidate.parts)
    }
    assert doubted == {wrong}


async def test_no_check_where_nobody_could_come_to_the_same(mesh: InProcessMesh):
    await mesh.add_dispatcher(spot_checks=1.0)
    await mesh.add_node("first", delay_ms=FIRST_MS)
    async with Rogue(mesh, "second", "synthetic", engine="another"):
        await asked(mesh)
        await mesh.all_acknowledged("standard")
    assert await questions_of_the_mesh(mesh) == []


async def test_only_so_large_a_share_is_checked(mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch):
    drawn = iter((0.2, 0.19))
    monkeypatch.setattr(spot_checks, "_dice", SimpleNamespace(random=lambda: next(drawn)))
    await mesh.add_dispatcher(spot_checks=0.2)
    await mesh.add_node("first", delay_ms=FIRST_MS)
    await mesh.add_node("second", delay_ms=SECOND_MS)
    await asked(mesh)
    key = await asked(mesh)
    (found,) = await checks(mesh, 1)
    assert found.task == key.task
    assert len(await questions_of_the_mesh(mesh)) == 1


async def test_what_is_not_greedy_is_not_checked(mesh: InProcessMesh):
    await mesh.add_dispatcher(spot_checks=1.0)
    await mesh.add_node("first", delay_ms=FIRST_MS)
    await mesh.add_node("second", delay_ms=SECOND_MS)
    for temperature in (None, 0.7):
        await mesh.steps(await mesh.submit(temperature=temperature))
    key = await asked(mesh)
    (found,) = await checks(mesh, 1)
    assert found.task == key.task
    assert len(await questions_of_the_mesh(mesh)) == 1


async def test_a_check_that_nobody_can_write_fails_and_is_no_dead_letter(mesh: InProcessMesh):
    await mesh.add_dispatcher(max_attempts=1)
    async with Rogue(mesh, "first", "synthetic") as rogue:
        key = TaskKey(CHECKS, mesh.key().task)
        check = CheckOf(account="local", task=mesh.key().task, node="somebody", engine="synthetic")
        await mesh.submit(key, check_of=check)
        (await rogue.take(key)).finished()
        state = (await mesh.steps(key))[-1].state
    assert state.outcome == "failed"
    assert state.error is not None
    assert state.error.code == "attempts_exhausted"
    assert (await stream_facts(mesh.bus.core, DEAD)).messages == 0


@pytest.mark.parametrize("is_user", [True, False], ids=["by a user", "without a task"])
async def test_nobody_else_has_answers_checked(mesh: InProcessMesh, is_user: bool):
    await mesh.add_dispatcher(spot_checks=1.0)
    await mesh.add_node("first", delay_ms=FIRST_MS)
    await mesh.add_node("second", delay_ms=SECOND_MS)
    before = (await stream_facts(mesh.bus.core, DEVICES)).last_sequence
    check = CheckOf(
        account="local", task=mesh.key().task, node="first", engine="synthetic", other="second", other_task="t"
    )
    key = mesh.key() if is_user else TaskKey(CHECKS, mesh.key().task)
    await mesh.submit(key, temperature=0.0, check_of=check if is_user else None)
    assert (await mesh.steps(key))[-1].state.outcome == "failed"
    end = await stored_end(mesh.bus, key)
    assert isinstance(end, TaskFailed)
    assert (end.error.status, end.error.param) == (400, "check_of")
    # Another task behind it, so that whatever it had set off would be there.
    await mesh.steps(await mesh.submit())
    assert (await stream_facts(mesh.bus.core, DEVICES)).last_sequence == before


async def test_the_question_is_put_as_the_user_put_it_and_says_whose_answer_it_checks(mesh: InProcessMesh):
    await mesh.add_dispatcher(spot_checks=1.0)
    await mesh.add_node("first", delay_ms=FIRST_MS)
    await mesh.add_node("second", delay_ms=SECOND_MS)
    key = await asked(mesh)
    await checks(mesh, 1)
    theirs, ours = [decode(recorded.data, TaskSubmitted) for recorded in await submissions(mesh)]
    assert (ours.model, ours.messages, ours.sampling) == (theirs.model, theirs.messages, theirs.sampling)
    assert ours.check_of == CheckOf(account="local", task=key.task, node="first", engine="synthetic")
