"""Copies of a stream lag behind, and live messages get lost: who reads notices neither."""

import asyncio

import pytest

from mesh.bus.answer import Step, follow
from mesh.bus.appends import Fence
from mesh.bus.provision import Action, check, provision
from mesh.bus.service_bus import Bus
from mesh.errors import FenceMismatch, SubjectTaken
from mesh.history.tail import StreamTail
from streams import subjects
from streams.codec import encode
from streams.consumers import consumer_specs
from streams.events import TaskAssigned, TaskChunk, TaskEnded
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import Token, token
from streams.topology import stream_specs
from tests.integration.cluster.running_cluster import SIZE, RunningCluster
from tests.processes import PATIENCE_S, until

pytestmark = pytest.mark.timeout(240)

NODE = token("n1")
CHUNKS = 60


def new_key() -> TaskKey:
    return TaskKey(token("local"), new_task_id())


class Task:
    """A task that is written by a node and the mesh in turn, each event behind the one before."""

    def __init__(self, bus: Bus) -> None:
        self.key = new_key()
        self._bus = bus
        self.n = 0
        self.sequence = 0

    async def write(self, writer: Token, event: TaskAssigned | TaskChunk | TaskEnded) -> None:
        self.n = event.n
        fence = Fence(subjects.results_of(self.key), self.sequence)
        self.sequence = await self._bus.edge.append(subjects.result(self.key, writer), encode(event), fence=fence)

    async def assign(self) -> None:
        event = TaskAssigned(n=self.n + 1, at_ms=1, attempt=1, node=NODE, policy="test", candidates=(), offset=0)
        await self.write(subjects.MESH, event)

    async def chunk(self) -> None:
        await self.write(NODE, TaskChunk(n=self.n + 1, attempt=1, offset=self.n - 1, text="x", tokens=1))

    async def end(self) -> None:
        await self.write(subjects.MESH, TaskEnded(n=self.n + 1, at_ms=2, outcome="cancelled"))


async def test_what_was_just_acknowledged_is_read_by_everybody(cluster: RunningCluster, bus: Bus) -> None:
    """Without asking the leader, up to every ninth of these reads is behind."""
    task = Task(bus)
    await task.assign()
    async with asyncio.timeout(PATIENCE_S), await cluster.connect("reader") as reader:
        for number in range(1, CHUNKS + 1):
            await task.chunk()
            events = await reader.log.read(task.key)
            chunks = await reader.log.read_chunks(task.key, NODE, after_sequence=0)
            assert [stored.event.n for stored in events] == list(range(1, number + 2))
            assert chunks[-1].sequence == task.sequence


async def test_a_tail_sees_what_was_there_before_it_began(cluster: RunningCluster, bus: Bus) -> None:
    for number in range(20):
        node = f"tail{number}"
        sequence = await bus.core.append(f"models.{node}.m", b"an event")
        seen: list[int] = []
        async with asyncio.timeout(PATIENCE_S), await cluster.connect("tail") as late:
            tail = StreamTail(late.core, "MODELS", "models.*.*", lambda found, _, __, seen=seen: seen.append(found))
            await tail.start()
            assert seen[-1] == sequence
            await tail.stop()


async def test_a_watcher_that_misses_live_messages_reads_the_whole_task(cluster: RunningCluster, bus: Bus) -> None:
    task = Task(bus)
    steps: list[Step] = []
    async with asyncio.timeout(PATIENCE_S), await cluster.connect("watcher") as watching:
        await watching.follow()
        await task.assign()
        await task.chunk()

        async def watch() -> None:
            async for together in follow(watching.source, task.key):
                steps.extend(together)

        watcher = asyncio.create_task(watch())
        await until(lambda: len(steps) == 2)
        # From here on nothing reaches it by itself, as in a change of the leader.
        await watching.feed.stop()
        await task.chunk()
        await task.end()
        await watcher
    assert [step.event.n for step in steps] == [1, 2, 3, 4]


async def test_one_of_several_writers_wins_and_the_others_are_told(cluster: RunningCluster, bus: Bus) -> None:
    key = new_key()
    fence = Fence(subjects.results_of(key), 0)

    async def claim(number: int) -> int | None:
        try:
            return await bus.edge.append(subjects.result(key, token(f"w{number}")), b"mine", fence=fence)
        except FenceMismatch:
            return None

    async with asyncio.timeout(PATIENCE_S):
        claims = await asyncio.gather(*(claim(number) for number in range(20)))
    assert len([sequence for sequence in claims if sequence is not None]) == 1


async def test_a_subject_that_takes_one_message_keeps_the_first(cluster: RunningCluster, bus: Bus) -> None:
    subject = subjects.ended(new_key())

    async def end(number: int) -> bool:
        try:
            await bus.core.append(subject, b"%d" % number)
        except SubjectTaken:
            return False
        return True

    async with asyncio.timeout(PATIENCE_S):
        assert sorted(await asyncio.gather(*(end(number) for number in range(20)))) == [False] * 19 + [True]


async def test_provisioning_again_changes_nothing(cluster: RunningCluster, bus: Bus) -> None:
    specs = stream_specs(replicas=SIZE)
    async with asyncio.timeout(PATIENCE_S):
        made = await provision(bus.links, specs, consumer_specs())
        found = await check(bus.links, specs, consumer_specs())
    assert {finding.action for finding in (*made, *found)} == {Action.SAME}
