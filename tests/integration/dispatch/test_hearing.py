"""A service that could not hear the bus for a while holds nobody's silence against them."""

import asyncio
import os
import signal
import time

from gateway.roster.hearing import Hearing
from streams.events import TaskRequeued
from tests.mesh_in_process import InProcessMesh
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
    await mesh.add_dispatcher()
    await mesh.add_node("n1", delay_ms=20, interval_s=0.4)
    await mesh.add_node("n2", delay_ms=20, interval_s=0.4)
    keys = [await mesh.submit(tokens=200) for _ in range(4)]
    await asyncio.gather(*(mesh.reached(key, 3) for key in keys))

    server = server_of(mesh)
    os.kill(server, signal.SIGSTOP)
    # Several times what makes a node silent.
    await asyncio.sleep(2.5)
    os.kill(server, signal.SIGCONT)

    for key in keys:
        steps = await mesh.steps(key)
        assert steps[-1].state.outcome == "completed"
        assert [step.event for step in steps if isinstance(step.event, TaskRequeued)] == []


def server_of(mesh: InProcessMesh) -> int:
    """The process id of the mesh's nats-server."""
    assert mesh.server.pid is not None
    return mesh.server.pid
