"""One fault in a cluster while several writers append under the fence: what was lost, and how long nobody was served.

The tests beside this run each fault once; a longer run calls `under_fault` as often as it likes.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from mesh.bus.service_bus import Bus
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import token
from tests.integration.cluster.fenced_load import Load, lost_and_broken, stream_of
from tests.integration.cluster.running_cluster import SIZE, RunningCluster

Fault = Literal["kill", "pause", "isolate"]
Role = Literal["leader", "follower"]

WRITERS = 4
TASKS = 6
BEFORE = 200
DURING = 20
AFTER = 100


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one fault did."""

    fault: Fault
    role: Role
    acked: int
    refused: int
    in_doubt: int
    gap_s: float
    """The longest time in which no append was acknowledged."""
    lost: int
    """Appends that were acknowledged and are not in the stream as they were: must be 0."""
    broken: int
    """Events that do not follow the one that their writer expected: must be 0."""


async def under_fault(cluster: RunningCluster, fault: Fault, role: Role) -> Measured:
    """Write, break one server, see that every writer and stream goes on, mend it, and compare with what is stored.

    Who calls decides how long that may take: writers that stand still are waited for.
    """
    async with AsyncExitStack() as stack:
        look = await _connect(cluster, stack, "look")
        await cluster.whole(look)
        load = Load(keys=[TaskKey(token("local"), new_task_id()) for _ in range(TASKS)])
        names = [f"w{number}" for number in range(WRITERS)]
        buses = [await _connect(cluster, stack, name) for name in names]
        writers = [asyncio.create_task(load.write(bus.edge, name)) for bus, name in zip(buses, names, strict=True)]
        await _unless_failed(load.more(BEFORE), writers)
        leader = await cluster.leader(look, stream_of(load.keys[0]))
        with broken(cluster, fault, leader if role == "leader" else (leader + 1) % SIZE):
            await _unless_failed(load.more_of_each(names, DURING), writers)
            await _unless_failed(load.more_in_each_stream(DURING), writers)
        await _unless_failed(load.more(AFTER), writers)
        load.stop.set()
        await asyncio.gather(*writers)
        lost, wrong = await lost_and_broken(look.edge, load)
        return Measured(
            fault=fault,
            role=role,
            acked=load.count,
            refused=load.refused,
            in_doubt=load.in_doubt,
            gap_s=round(load.longest_gap_s, 1),
            lost=len(lost),
            broken=len(wrong),
        )


@contextmanager
def broken(cluster: RunningCluster, fault: Fault, server: int) -> Iterator[None]:
    """Break one server, and mend it afterwards."""
    match fault:
        case "kill":
            cluster.kill(server)
            try:
                yield
            finally:
                cluster.start(server)
        case "pause":
            cluster.pause(server)
            try:
                yield
            finally:
                cluster.resume()
        case "isolate":
            with cluster.isolated(server):
                yield


async def _connect(cluster: RunningCluster, stack: AsyncExitStack, name: str) -> Bus:
    return await stack.enter_async_context(await cluster.connect(name))


async def _unless_failed(progress: Coroutine[Any, Any, None], writers: list[asyncio.Task[None]]) -> None:
    """Wait for progress, and no longer once a writer has failed."""
    waiting = asyncio.create_task(progress)
    done, _ = await asyncio.wait({waiting, *writers}, return_when=asyncio.FIRST_COMPLETED)
    if waiting not in done:
        waiting.cancel()
    for task in done:
        task.result()
