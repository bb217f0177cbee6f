"""Whoever ends a task early halts it first, so that what is charged is what was delivered, whoever else is at work."""

from datetime import timedelta

import pytest

from gateway.dispatcher.ending import stored_end
from mesh.bus.answer import Step
from streams import subjects
from streams.codec import decode, encode
from streams.events import TaskCancelled, TaskEnded, TaskFailed, TaskHalted
from streams.messages import Cancel, CancelOutcome
from streams.subjects import TaskKey
from tests.mesh_in_process import LIMIT_S, InProcessMesh, text_of

PATIENCE = timedelta(seconds=LIMIT_S)
"""Other dispatchers are asked first whether it is theirs."""


async def cancel(mesh: InProcessMesh, key: TaskKey) -> str:
    request = encode(Cancel(task=key.task))
    reply = await mesh.bus.core.request(subjects.user_api(key.account, "cancel"), request, timeout=PATIENCE)
    return decode(reply.data, CancelOutcome).outcome


async def check(mesh: InProcessMesh, key: TaskKey, steps: list[Step]) -> None:
    """The last two events are the halt and the end, and the end charges the text before them."""
    assert [type(step.event) for step in steps[-2:]] == [TaskHalted, TaskEnded]
    end = await stored_end(mesh.bus, key)
    assert isinstance(end, (TaskCancelled, TaskFailed))
    assert sum(share.chars for share in end.shares) == len(text_of(steps))
    assert end.final_n == steps[-2].state.n


@pytest.mark.parametrize("has_node", [True, False], ids=["running", "waiting"])
async def test_a_task_whose_dispatcher_died_is_halted_before_it_is_cancelled(
    mesh: InProcessMesh, has_node: bool
) -> None:
    dead = await mesh.add_dispatcher("d1")
    await mesh.add_dispatcher("d2")
    if has_node:
        await mesh.add_node(delay_ms=20)
    key = await mesh.submit(tokens=1000)
    await mesh.reached(key, 3 if has_node else 1)
    await dead.vanish()
    assert await cancel(mesh, key) == "cancelled"
    await check(mesh, key, await mesh.steps(key))


async def test_what_the_gate_refuses_is_halted_too(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    key = await mesh.submit(model="unheard-of")
    await check(mesh, key, await mesh.steps(key))
