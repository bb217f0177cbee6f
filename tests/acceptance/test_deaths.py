"""Every part as a process of its own, several of each, and some of them killed while answers stream.

The answers are compared with the log of the mesh: what its streams hold, read past all services.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout

from mesh.broker.credentials import Credentials
from mesh.bus.service_bus import Bus, BusOptions
from streams import subjects
from streams.codec import decode_end_event
from streams.events import TaskChunk, TaskCompleted, TaskEnded
from streams.subjects import TaskKey
from streams.tasks.task import TaskState, advance, fold
from streams.tokens import token
from streams.topology import ENDED
from tests.http_gateway import Json, Sse, sse_events
from tests.processes import PATIENCE_S, descendants, until
from tests.running_mesh import SYNTHETIC, Parts, running_parts

pytestmark = pytest.mark.timeout(240)

TOKENS = 80
ANSWERS = 8
POLL_S = 0.1
GATEWAYS = ("gateway-a", "gateway-b")
DISPATCHERS = ("dispatcher-a", "dispatcher-b")
NODES = ("node-a", "node-b")
BUSY, OTHER = NODES
"""The one that dies, hangs or leaves: the mesh does not wait for it long. And the one that stays, however slow."""
OF_GATEWAYS = ("--http", "127.0.0.1:0", "--http-stop-timeout", "60s")
OF_NODES = ("--engine", "synthetic", "--token-delay-ms", "50", "--drain", "0s", "--id")
OPTIONS = {
    BUSY: (*OF_NODES, BUSY, "--heartbeat", "1s"),
    OTHER: (*OF_NODES, OTHER, "--heartbeat", "10s"),
    **dict.fromkeys(DISPATCHERS, ()),
    **dict.fromkeys(GATEWAYS, OF_GATEWAYS),
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A mesh of seven processes, each started by itself."""
    with running_parts(tmp_path_factory.mktemp("parts")) as running:
        for name, options in OPTIONS.items():
            running.start(name, *options)
        running.ready(*OPTIONS)
        yield running


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession(timeout=ClientTimeout(total=PATIENCE_S)) as opened:
        yield opened


@pytest.fixture
async def bus(parts: Parts) -> AsyncIterator[Bus]:
    """The streams themselves."""
    credentials = Credentials.load(parts.place.data_dir)
    options = BusOptions(
        servers=(f"nats://{parts.place.nats}",),
        name="test",
        edge_seed=credentials.edge_service.seed_path,
        core_seed=credentials.core_service.seed_path,
    )
    async with await Bus.connect(options) as connected:
        yield connected


@dataclass
class Answer:
    """One answer as its reader has it: the text by counter, over every connection that it took."""

    gateway: str
    question: str
    task: str = ""
    events: list[Sse] = field(default_factory=list[Sse])

    @property
    def last(self) -> str:
        return next((event.id for event in reversed(self.events) if event.id), "0")

    @property
    def ids(self) -> list[int]:
        return [int(event.id) for event in self.events if event.id]

    @property
    def is_whole(self) -> bool:
        return bool(self.events) and self.events[-1].data == "[DONE]"

    @property
    def text(self) -> str:
        return "".join(_text(event.json) for event in self.events if event.data not in (None, "[DONE]"))

    async def read(self, session: ClientSession, url: str) -> None:
        """Ask, or go on behind what was read already, until the end or until the connection breaks."""
        body = {
            "model": SYNTHETIC,
            "messages": [{"role": "user", "content": self.question}],
            "max_tokens": TOKENS,
            "stream": True,
        }
        headers = {"x-ig3-task": self.task, "Last-Event-ID": self.last} if self.task else {}
        async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            self.task = response.headers["x-ig3-task"]
            async for event in sse_events(response):
                self.events.append(event)


async def half_written(
    parts: Parts, session: ClientSession, questions: Sequence[str]
) -> tuple[list[Answer], list[asyncio.Task[None]], list[str]]:
    """Have answers begun by nodes that stand still now, at the first attempt, and some by the one that is to go.

    None of them is whole, however slow this test is. Returns each one's reader and node too.
    """
    while True:
        answers = [Answer(GATEWAYS[number % 2], question) for number, question in enumerate(questions)]
        readers = [asyncio.create_task(answer.read(session, parts.urls[answer.gateway])) for answer in answers]
        await until(lambda: all(answer.text for answer in answers))  # noqa: B023 - waited for right here
        begun = await summaries(session, parts, answers)
        stand_still(parts)
        frozen = await summaries(session, parts, answers)
        nodes = [one["node"] for one in begun]
        is_first = all(one["attempt"] == 1 for one in begun)
        if is_first and BUSY in nodes and not any(one["finish_reason"] for one in (*begun, *frozen)):
            return answers, readers, nodes
        go_on(parts, *NODES)
        await asyncio.gather(*readers)


def stand_still(parts: Parts) -> None:
    for name in NODES:
        os.kill(parts.running[name].pid, signal.SIGSTOP)


def go_on(parts: Parts, *names: str) -> None:
    for name in names:
        os.kill(parts.running[name].pid, signal.SIGCONT)


async def test_no_death_of_ours_costs_a_word(parts: Parts, session: ClientSession, bus: Bus) -> None:
    answers, readers, _ = await half_written(parts, session, [f"question {number}" for number in range(ANSWERS)])
    parts.running["dispatcher-a"].kill()
    parts.running["gateway-a"].kill()
    go_on(parts, *NODES)
    broken = [type(end) for end in await asyncio.gather(*readers, return_exceptions=True) if end is not None]

    assert all(issubclass(kind, ClientError) for kind in broken)
    assert [answer.gateway for answer in answers if not answer.is_whole] == ["gateway-a"] * (ANSWERS // 2)
    for answer in answers:
        if not answer.is_whole:
            await answer.read(session, parts.urls["gateway-b"])
    for answer in answers:
        assert answer.is_whole
        assert answer.ids == sorted(set(answer.ids))
        assert answer.text == await written(bus, answer.task)
        assert len(answer.text.split()) == TOKENS
        assert isinstance(await only_end(bus, answer.task), TaskCompleted)
    start_again(parts, "dispatcher-a", "gateway-a")


async def test_what_nobody_reads_is_finished_all_the_same(parts: Parts, session: ClientSession, bus: Bus) -> None:
    """Both dispatchers die, one after the other, so every task changes hands at least once."""
    answers, readers, _ = await half_written(parts, session, ["hello"] * ANSWERS)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    parts.running["dispatcher-a"].kill()
    start_again(parts, "dispatcher-a")
    parts.running["dispatcher-b"].kill()
    go_on(parts, *NODES)
    start_again(parts, "dispatcher-b")
    for answer in answers:
        assert isinstance(await only_end(bus, answer.task), TaskCompleted)
        assert len((await written(bus, answer.task)).split()) == TOKENS


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_answers_of_a_node_that_dies_or_hangs_are_written_on_by_another(
    parts: Parts, session: ClientSession, bus: Bus, fault: signal.Signals
) -> None:
    answers, readers, nodes = await half_written(parts, session, ["hello"] * ANSWERS)
    node = parts.running[BUSY]
    if fault is signal.SIGKILL:
        node.kill()
    go_on(parts, OTHER)

    await asyncio.gather(*readers)

    for began, answer in zip(nodes, answers, strict=True):
        end = await only_end(bus, answer.task)
        assert isinstance(end, TaskCompleted)
        assert [share.node for share in end.shares] == ([OTHER] if began == OTHER else [BUSY, OTHER])
        assert end.usage.completion_tokens == sum(share.tokens for share in end.shares) == TOKENS
        assert answer.is_whole
        assert answer.ids == sorted(set(answer.ids))
        assert answer.text == await written(bus, answer.task)
    assert len({answer.text for answer in answers}) == 1
    if fault is signal.SIGSTOP:
        # It wakes in the middle of answers that are not its own any more: they stay as they are.
        ends = {answer.task: await written(bus, answer.task) for answer in answers}
        node.process.send_signal(signal.SIGCONT)
        again = Answer("gateway-a", "hello")
        await again.read(session, parts.urls["gateway-a"])
        assert again.text == answers[0].text
        assert ends == {answer.task: await written(bus, answer.task) for answer in answers}
    else:
        start_again(parts, BUSY)


@pytest.mark.parametrize("victim", ["nats-server", "broker"])
async def test_a_broker_that_dies_costs_no_word_either(
    parts: Parts, session: ClientSession, bus: Bus, victim: str
) -> None:
    answers, readers, _ = await half_written(parts, session, [f"question {number}" for number in range(ANSWERS)])
    broker = parts.running["broker"]
    if victim == "broker":
        broker.kill()
        go_on(parts, *NODES)
        parts.start_broker()
    else:
        # The broker starts its server again by itself.
        (server,) = (pid for pid, name in descendants(broker.pid).items() if name == victim)
        os.kill(server, signal.SIGKILL)
        go_on(parts, *NODES)
    await asyncio.gather(*readers)
    for answer in answers:
        assert answer.is_whole
        assert answer.text == await written(bus, answer.task)
        assert len(answer.text.split()) == TOKENS
        assert isinstance(await only_end(bus, answer.task), TaskCompleted)


async def test_restarting_one_part_after_the_other_is_not_noticed(
    parts: Parts, session: ClientSession, bus: Bus
) -> None:
    """Asked to stop, each part ends what it is doing or hands it on: no connection breaks, no task fails."""
    answers, readers, _ = await half_written(parts, session, ["hello"] * ANSWERS)
    for name in (BUSY, "dispatcher-a", "gateway-a"):
        process = parts.running[name].process
        process.send_signal(signal.SIGTERM)
        if name == BUSY:
            go_on(parts, *NODES)
        assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
    await asyncio.gather(*readers)
    ends = [await only_end(bus, answer.task) for answer in answers]
    assert {share.node for end in ends if isinstance(end, TaskCompleted) for share in end.shares} == set(NODES)
    for answer, end in zip(answers, ends, strict=True):
        assert answer.is_whole
        assert answer.text == await written(bus, answer.task)
        assert isinstance(end, TaskCompleted)
        assert end.usage.completion_tokens == sum(share.tokens for share in end.shares) == TOKENS
        # A node that leaves hands its answer to the other one, which goes on where it stood.
        assert [share.node for share in end.shares] in ([OTHER], [BUSY, OTHER])
    assert len({answer.text for answer in answers}) == 1
    start_again(parts, BUSY, "gateway-a", "dispatcher-a")


def start_again(parts: Parts, *names: str) -> None:
    for name in names:
        parts.start(name, *OPTIONS[name])
    parts.ready(*names)


async def summaries(session: ClientSession, parts: Parts, answers: Sequence[Answer]) -> list[Json]:
    return await asyncio.gather(*(summary(session, parts, answer.task) for answer in answers))


async def summary(session: ClientSession, parts: Parts, task: str) -> Json:
    async with session.get(f"{parts.urls['gateway-b']}/v1/tasks/{task}") as response:
        return await response.json()


async def written(bus: Bus, task: str) -> str:
    """The answer as the stream holds it: what counts of it."""
    state, text = TaskState(), ""
    for _, writer, event in await bus.log.read(key_of(task)):
        following = advance(state, writer, event)
        if isinstance(following, TaskState):
            state = following
            text += event.text if isinstance(event, TaskChunk) else ""
    return text


async def only_end(bus: Bus, task: str) -> object:
    """Wait for the task's end, which must be one in CORE and one marker on its stream; returns the fact."""
    key = key_of(task)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            stored = await bus.log.read(key)
            if fold((writer, event) for _, writer, event in stored).is_over:
                break
            await asyncio.sleep(POLL_S)
    assert [type(event) for _, _, event in stored].count(TaskEnded) == 1
    fact = await bus.core.request(f"$JS.API.DIRECT.GET.{ENDED}.{subjects.ended(key)}", b"")
    return decode_end_event(fact.data)


def key_of(task: str) -> TaskKey:
    return TaskKey(token("local"), token(task))


def _text(chunk: Json) -> str:
    return chunk["choices"][0]["delta"].get("content", "") if chunk.get("choices") else ""
