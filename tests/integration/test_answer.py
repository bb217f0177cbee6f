"""Following a task: whatever the way and order in which events come, each valid one is told once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mesh.bus.answer import Reader, ServiceSource, follow
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.live import LiveEvent, LiveFeed
from mesh.bus.provision import provision
from mesh.bus.task_log import TaskLog
from streams import subjects
from streams.codec import encode
from streams.events import TaskAssigned, TaskChunk, TaskEnded, TaskEvent
from streams.subjects import MESH, TaskKey
from streams.tasks.chat import Usage
from streams.tasks.task_id import new_task_id
from streams.tokens import token
from streams.topology import stream_specs
from tests.nats_server import NatsServer

pytestmark = pytest.mark.usefixtures("patient_answers")

LIMIT_S = 30.0
NODE = token("n1")


class Story:
    """One task, and a hand that writes to its streams without any fence."""

    def __init__(self, link: Link, source: ServiceSource) -> None:
        self.link = link
        self.source = source
        self.key = TaskKey(token("a"), new_task_id())

    async def write(self, event: TaskEvent, writer: str = MESH) -> None:
        await self.link.append(subjects.result(self.key, token(writer)), encode(event))

    async def assigned(self, n: int = 1, attempt: int = 1, offset: int = 0) -> None:
        await self.write(TaskAssigned(n=n, at_ms=1, attempt=attempt, node=NODE, policy="p", offset=offset))

    async def chunk(self, n: int, text: str, offset: int, *, attempt: int = 1, last: bool = False) -> None:
        usage = Usage(prompt_tokens=1, completion_tokens=1) if last else None
        finish = "stop" if last else None
        await self.write(
            TaskChunk(n=n, attempt=attempt, offset=offset, text=text, finish_reason=finish, usage=usage), NODE
        )

    async def ended(self, n: int) -> None:
        await self.write(TaskEnded(n=n, at_ms=1, outcome="completed"))


@pytest.fixture
async def story(nats_server: NatsServer) -> AsyncIterator[Story]:
    link = await Link.connect(LinkOptions(servers=(nats_server.url,), name="t", inbox_prefix="_INBOX.svc.t"))
    await provision({"EDGE": link, "CORE": link}, stream_specs(), [])
    feed = LiveFeed(link)
    await feed.start()
    yield Story(link, ServiceSource(feed, TaskLog(link, 4)))
    await link.close()


async def told(story: Story, after: int = 0) -> list[str]:
    async with asyncio.timeout(LIMIT_S):
        return [
            step.event.text if isinstance(step.event, TaskChunk) else type(step.event).__name__
            async for steps in follow(story.source, story.key, after=after)
            for step in steps
        ]


async def test_a_late_reader_gets_all_and_a_returning_one_the_rest(story: Story):
    await story.assigned()
    await story.chunk(2, "one ", 0)
    await story.chunk(3, "two", 4, last=True)
    await story.ended(4)

    assert await told(story) == ["TaskAssigned", "one ", "two", "TaskEnded"]
    assert await told(story, after=2) == ["two", "TaskEnded"]
    assert await told(story, after=4) == []
    assert await told(story, after=99) == []


async def test_an_end_that_is_a_fact_is_read_whether_its_marker_is_stored_or_not(story: Story):
    await story.assigned()
    await story.chunk(2, "one", 0, last=True)
    marker = encode(TaskEnded(n=3, at_ms=1, outcome="completed"))
    story.source.put_end(story.key, LiveEvent(sequence=0, writer=MESH, data=marker))

    assert await told(story) == ["TaskAssigned", "one", "TaskEnded"]
    await story.ended(3)
    assert await told(story) == ["TaskAssigned", "one", "TaskEnded"]
    assert await told(story, after=3) == []


async def test_readers_from_the_start_and_from_the_middle_see_the_same(story: Story):
    first = asyncio.create_task(told(story))
    await story.assigned()
    await story.chunk(2, "one ", 0)
    second = asyncio.create_task(told(story))
    await story.chunk(3, "two", 4, last=True)
    await story.ended(4)

    assert await first == await second == ["TaskAssigned", "one ", "two", "TaskEnded"]


async def test_a_chunk_that_stands_before_its_assignment_counts_for_no_reader(story: Story):
    early = asyncio.create_task(told(story))
    await story.assigned()
    await story.chunk(3, "forged", 0, attempt=2)
    await story.assigned(n=2, attempt=2)
    await story.chunk(3, "true", 0, attempt=2, last=True)
    await story.ended(4)

    expected = ["TaskAssigned", "TaskAssigned", "true", "TaskEnded"]
    assert await early == expected
    assert await told(story) == expected


async def test_what_was_missed_live_comes_from_the_stream_in_order(story: Story):
    reader = Reader(story.source, story.key)
    await story.assigned()
    await story.chunk(2, "one ", 0)
    with story.source.watch(story.key) as watch:
        await story.chunk(3, "two", 4, last=True)
        async with asyncio.timeout(LIMIT_S):
            steps = await reader.take(watch)

    assert [step.state.n for step in steps] == [1, 2, 3]


async def test_a_counter_stored_twice_does_not_strand_a_reader(story: Story):
    reader = Reader(story.source, story.key)
    await story.assigned()
    await story.chunk(2, "one ", 0)
    await reader.catch_up()
    await story.chunk(3, "two ", 4)
    await story.chunk(3, "again ", 4)
    with story.source.watch(story.key) as watch:
        await story.chunk(4, "three", 8, last=True)
        async with asyncio.timeout(LIMIT_S):
            steps = await reader.take(watch)

    assert "".join(step.event.text for step in steps if isinstance(step.event, TaskChunk)) == "two three"


async def test_bytes_that_are_no_event_stop_nobody(story: Story):
    await story.assigned()
    await story.link.append(subjects.result(story.key, NODE), b"\xc1 garbage")
    await story.chunk(2, "one", 0, last=True)
    await story.ended(3)

    assert await told(story) == ["TaskAssigned", "one", "TaskEnded"]


async def test_a_patient_watch_wakes_for_the_end_and_has_all_before_it(story: Story):
    reader = Reader(story.source, story.key)
    with story.source.watch(story.key) as watch:
        watch.is_patient = True
        await story.assigned()
        await story.chunk(2, "one ", 0)
        arrived: list[LiveEvent] = []
        async with asyncio.timeout(LIMIT_S):
            while not arrived:
                arrived = await watch.take(0.05)
        await story.chunk(3, "two", 4, last=True)
        taking = asyncio.create_task(reader.take(watch, wait_s=LIMIT_S))
        await story.ended(4)
        async with asyncio.timeout(LIMIT_S):
            steps = await taking

    assert [step.state.n for step in steps] == [1, 2, 3, 4]
