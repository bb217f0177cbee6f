"""A service that could not hear the bus for a while holds nobody's silence against them."""

import asyncio
import os
import signal
import time
from datetime import timedelta

from gateway.roster.hearing import Hearing
from streams.events import TaskRequeued
from streams.tokens import Token
from tests.mesh_in_process import LIMIT_S, InProcessMesh
from tests.processes import until


async def test_time_stands_still_while_the_bus_is_not_heard(mesh: InProcessMesh) -> None:
    hearing = Hearing(mesh.bus.edge)
    await hearing.start()
    began_s, before_s = time.monotonic(), hearing.now_s()
    server = server_of(mesh)
    os.kill(server, signal.SIGSTOP)
    # Three times what it takes to be deaf.
    await asyncio.sleep(3)
    frozen_s = hearing.now_s()
    await asyncio.sleep(0.5)
    still_s = hearing.now_s()
    os.kill(server, signal.SIGCONT)

    assert still_s == frozen_s
    assert frozen_s - before_s <= time.monotonic() - began_s - 1
    await until(lambda: hearing.now_s() > frozen_s)
    await hearing.stop()


async def test_a_broker_that_hangs_for_seconds_moves_no_task(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher(stall=timedelta(seconds=1.5))
    await mesh.add_node("n1", delay_ms=20, interval_s=0.4)
    await mesh.add_node("n2", delay_ms=20, interval_s=0.4)
    keys = [await mesh.submit(tokens=250) for _ in range(4)]
    await asyncio.gather(*(mesh.reached(key, 3) for key in keys))

    server = server_of(mesh)
    os.kill(server, signal.SIGSTOP)
    # Several times what makes a node silent, and longer than an attempt may stand still.
    await asyncio.sleep(2.5)
    os.kill(server, signal.SIGCONT)

    for key in keys:
        steps = await mesh.steps(key)
        assert steps[-1].state.outcome == "completed"
        assert [step.event for step in steps if isinstance(step.event, TaskRequeued)] == []


async def test_a_node_that_left_just_before_the_broker_hung_is_lost_once_that_goes_on(mesh: InProcessMesh) -> None:
    dispatcher = await mesh.add_dispatcher()
    # Its silence will tell nobody in time.
    node = await mesh.add_node("n1", interval_s=600)
    hear, departed = dispatcher.departures.on_departure, asyncio.Event()
    assert hear is not None

    def freeze(name: Token) -> None:
        os.kill(server_of(mesh), signal.SIGSTOP)
        hear(name)
        departed.set()

    dispatcher.departures.on_departure = freeze
    await node.vanish()
    async with asyncio.timeout(LIMIT_S):
        await departed.wait()
    # Longer than it is looked whether the node is back.
    await asyncio.sleep(1.5)
    os.kill(server_of(mesh), signal.SIGCONT)

    def is_lost() -> bool:
        view = dispatcher.feed.roster.node(node.name, now_s=dispatcher.feed.now_s())
        return view is not None and view.is_lost

    await until(is_lost)


def server_of(mesh: InProcessMesh) -> int:
    """The process id of the mesh's nats-server."""
    assert mesh.server.pid is not None
    return mesh.server.pid
