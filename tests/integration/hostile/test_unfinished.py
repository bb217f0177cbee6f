"""A node that does not come to the end of an answer: what it signs for, and what is held against it."""

import asyncio
from datetime import timedelta

import pytest

from gateway.dispatcher.ending import stored_end
from mesh.identity.device_log import DeviceLog
from nodes.engine import EngineSpec
from streams import subjects
from streams.codec import decode, encode
from streams.devices.fold import Devices, Standing
from streams.events import TaskChunk, TaskCompleted, TaskQueued
from streams.messages import Refused
from streams.tokens import Token
from tests.contract.waiting import eventually
from tests.integration.hostile.rogue import FAST, HONEST, Onlooker, Rogue
from tests.mesh_in_process import LIMIT_S, InProcessMesh, RunningNode
from tests.paced_engine import Pace, PacedEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def stuck_node(mesh: InProcessMesh, name: str) -> RunningNode:
    """One that gets tasks before the honest node, and stands still behind the first word of each answer."""
    pace = Pace()
    spec = EngineSpec(engine="synthetic", slots=4, token_delay_ms=1000 / FAST)
    node = await mesh.add_node(name, engine=PacedEngine(spec, pace), interval_s=5)
    pace.hold(1)
    return node


def proof_of(devices: Devices, node: Token) -> str:
    device = devices.device(node)
    return "" if device is None else device.proved_by


async def test_a_node_that_is_killed_in_the_middle_is_no_liar_and_its_words_stand(
    mesh: InProcessMesh, devices: DeviceLog, truth: str
):
    slow = await stuck_node(mesh, "z-killed")
    key = mesh.key()
    onlooker = Onlooker(mesh, key)
    await mesh.submit(key)
    await mesh.reached(key, 2)
    await slow.vanish()
    assert await onlooker.believes() == f"completed: {truth}"
    end = await stored_end(mesh.bus, key)
    assert isinstance(end, TaskCompleted)
    assert [(share.node, share.signed) for share in end.shares if share.chars] == [
        ("z-killed", False),
        ("honest", True),
    ]
    await devices.catch_up()
    device = devices.devices.device(slow.name)
    assert device is not None
    assert device.standing is Standing.ADMITTED


async def test_a_node_that_hands_over_signs_for_what_it_has_written(mesh: InProcessMesh, truth: str):
    leaving = await stuck_node(mesh, "z-leaving")
    key = mesh.key()
    onlooker = Onlooker(mesh, key)
    await mesh.submit(key)
    await mesh.reached(key, 2)
    await leaving.worker.drain(timedelta(0))
    assert await onlooker.believes() == f"completed: {truth}"
    end = await stored_end(mesh.bus, key)
    assert isinstance(end, TaskCompleted)
    assert [(share.node, share.signed) for share in end.shares if share.chars] == [
        ("z-leaving", True),
        ("honest", True),
    ]
    await leaving.vanish()


async def test_a_signature_for_something_else_when_an_attempt_is_given_back_counts_for_nothing(
    mesh: InProcessMesh, devices: DeviceLog, truth: str
):
    async with Rogue(mesh, "z-leaver", "synthetic", tokens_per_s=FAST) as rogue:
        key = mesh.key()
        onlooker = Onlooker(mesh, key)
        await mesh.submit(key)
        attempt = await rogue.take(key)
        await attempt.write("one ", n=attempt.order.next_n, offset=0)
        other = decode(attempt.chunk("more", n=attempt.order.next_n + 1, offset=4, last=True), TaskChunk)
        refusal = Refused(
            task=key.task,
            account=key.account,
            attempt=attempt.order.attempt,
            dispatcher=attempt.order.dispatcher,
            code="node_stopping",
            message="going",
            signature=other.signature,
        )
        rogue.link.send(subjects.node_api(rogue.node, "refused"), encode(refusal))
        rogue.forget(key.task)
        seen = await onlooker.believes()
        assert seen.startswith("completed: one ")
        end = await stored_end(mesh.bus, key)
        assert isinstance(end, TaskCompleted)
        assert [share.signed for share in end.shares if share.chars] == [False, True]
        await devices.catch_up()
        device = devices.devices.device(rogue.node)
        assert device is not None
        assert device.standing is Standing.ADMITTED


async def test_a_node_whose_answers_nobody_can_check_is_given_none(mesh: InProcessMesh, devices: DeviceLog):
    async with Rogue(mesh, "of-a-document", "promised-later") as rogue:
        device = devices.devices.device(rogue.node)
        assert device is not None
        assert device.did is not None
        await devices.verified(rogue.node, device.did, proved_by="#key-of-its-document")
        believed = mesh.dispatchers[0].dispatcher.devices.devices
        async with asyncio.timeout(LIMIT_S):
            await eventually(lambda: proof_of(believed, rogue.node) == "#key-of-its-document")
        key = mesh.key()
        await mesh.submit(key, model="promised-later")
        await mesh.reached(key, 1)
        (queued,) = [stored.event for stored in await mesh.bus.log.read(key)]
        assert isinstance(queued, TaskQueued)
        assert "its answers cannot be checked" in queued.reason
        await devices.verified(rogue.node, device.did, proved_by="subject")
        attempt = await rogue.take(key)
        await attempt.write("one ", n=attempt.order.next_n, offset=0)
        await attempt.write("two", n=attempt.order.next_n + 1, offset=4, last=True)
        attempt.finished()
        assert await Onlooker(mesh, key).believes() == f"completed: {HONEST}"
