"""Copies of a stream lag behind, and live messages get lost: who reads notices neither."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import pytest

from mesh.bus.answer import Step, follow
from mesh.bus.appends import Fence
from mesh.bus.provision import Action, check, provision
from mesh.bus.service_bus import Bus
from mesh.errors import FenceMismatch, PublishUnknown, SubjectTaken
from mesh.history.tail import StreamTail
from streams import subjects
from streams.codec import encode
from streams.consumers import consumer_specs
from streams.events import TaskAssigned, TaskChunk, TaskEnded
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import Token, token
from streams.topology import ENDED, stream_specs
from tests.integration.cluster.fenced_load import stored, stream_of
from tests.integration.cluster.running_cluster import SIZE, RunningCluster
from tests.processes import PATIENCE_S, until

pytestmark = pytest.mark.timeout(240)

NODE = token("n1")
CHUNKS = 60


def new_key() -> TaskKey:
    return TaskKey(token("local"), new_task_id())


async def answered(append: Callable[[], Awaitable[int]]) -> int:
    """Append until somebody answers: servers that stand still do not."""
    while True:
        with contextlib.suppress(PublishUnknown):
            return await append()


class Task:
    """A task that is written by a node and the mesh in turn, each event behind the one before."""

    def __init__(self, bus: Bus) -> None:
        self.key = new_key()
        self._bus = bus
        self.n = 0
        self.sequence = 0

    async def write(self, writer: Token, event: TaskAssigned | TaskChunk | TaskEnded) -> None:
        self.n = event.n
        fence, subject = Fence(subjects.results_of(self.key), self.sequence), subjects.result(self.key, writer)
        while True:
            try:
                self.sequence = await self._bus.edge.append(subject, encode(event), fence=fence)
            except (PublishUnknown, FenceMismatch):
                # A server that stands still is a question: what the stream holds is the answer.
                last = (await self._bus.log.read(self.key))[-1:]
                if not last or last[0].event.n < event.n:
                    continue
                self.sequence = last[0].sequence
            return

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
        sequence = await answered(partial(bus.core.append, f"models.{node}.m", b"an event"))
        seen: list[int] = []
        async with asyncio.timeout(PATIENCE_S), await cluster.connect("tail") as late:
            tail = StreamTail(late.core, "MODELS", "models.*.*", lambda found, _, __, seen=seen: seen.append(found))
            await tail.start()
            assert sequence in seen
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
        subject = subjects.result(key, token(f"w{number}"))
        try:
            return await answered(partial(bus.edge.append, subject, b"mine", fence=fence))
        except FenceMismatch:
            return None

    async with asyncio.timeout(PATIENCE_S):
        claims = await asyncio.gather(*(claim(number) for number in range(20)))
        told = {sequence for sequence in claims if sequence is not None}
        found = await stored(bus.edge, stream_of(key), at_least=max(told, default=1))
    kept = {event.sequence for event in found if key.task in event.subject}
    assert len(kept) == 1
    # The one that has won may have asked twice, and was told then that it is too late.
    assert told <= kept


async def test_a_subject_that_takes_one_message_keeps_the_first(cluster: RunningCluster, bus: Bus) -> None:
    subject = subjects.ended(new_key())

    async def end(number: int) -> int | None:
        try:
            return await answered(partial(bus.core.append, subject, b"%d" % number))
        except SubjectTaken:
            return None

    async with asyncio.timeout(PATIENCE_S):
        ends = await asyncio.gather(*(end(number) for number in range(20)))
        told = {number: sequence for number, sequence in enumerate(ends) if sequence is not None}
        found = await stored(bus.core, ENDED, at_least=max(told.values(), default=1))
    kept = {int(event.data): event.sequence for event in found if event.subject == subject}
    assert len(kept) == 1
    # The first may have asked twice, and was told then that there is one.
    assert told.items() <= kept.items()


async def test_provisioning_again_changes_nothing(cluster: RunningCluster, bus: Bus) -> None:
    specs = stream_specs(replicas=SIZE)
    async with asyncio.timeout(PATIENCE_S):
        made = await provision(bus.links, specs, consumer_specs(), patience=timedelta(seconds=PATIENCE_S))
        found = await check(bus.links, specs, consumer_specs())
    assert {finding.action for finding in (*made, *found)} == {Action.SAME}
