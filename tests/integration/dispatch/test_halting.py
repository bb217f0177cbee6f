"""Whoever ends a task early halts it first, so that what is charged is what was delivered, whoever else is at work."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from gateway.dispatcher.ending import stored_end
from mesh.bus.answer import Step
from mesh.errors import RequestTimedOut
from streams import subjects
from streams.codec import decode, encode
from streams.events import TaskCancelled, TaskEnded, TaskFailed, TaskHalted
from streams.messages import Cancel, CancelOutcome
from streams.subjects import TaskKey
from tests.mesh_in_process import LIMIT_S, InProcessMesh, text_of

pytestmark = pytest.mark.timeout(120)

ANSWER_LIMIT = timedelta(seconds=5)
"""Other dispatchers are asked first whether it is theirs, for two seconds."""


async def cancel(mesh: InProcessMesh, key: TaskKey) -> str:
    """Ask until somebody answers, as a client does: what the broker gave to a dispatcher that was leaving is lost."""
    request = encode(Cancel(task=key.task))
    async with asyncio.timeout(2 * LIMIT_S):
        while True:
            with suppress(RequestTimedOut):
                reply = await mesh.bus.core.request(
                    subjects.user_api(key.account, "cancel"), request, timeout=ANSWER_LIMIT
                )
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
    key = await mesh.submit(tokens=100_000)
    await mesh.reached(key, 3 if has_node else 1)
    await dead.vanish()
    assert await cancel(mesh, key) == "cancelled"
    await check(mesh, key, await mesh.steps(key))


async def test_what_the_gate_refuses_is_halted_too(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    key = await mesh.submit(model="unheard-of")
    await check(mesh, key, await mesh.steps(key))
