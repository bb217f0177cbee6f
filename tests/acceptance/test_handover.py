"""A node that is asked to stop in the middle of an answer: another one writes on, and the reader sees one answer.

Every part is a process of its own. The answers are greedy and one at a time; with real models too.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest
from aiohttp import ClientSession, ClientTimeout

from tests.http_gateway import Json, sse_events
from tests.processes import PATIENCE_S, until
from tests.running_mesh import SMALL_MODEL, SYNTHETIC, Parts, Running, running_parts

pytestmark = pytest.mark.timeout(240)

SMALL = ("--model", SMALL_MODEL, "--slots", "1", "--context", "512", "--engine")
REPLAYING = "replaying"
ENGINES = {
    REPLAYING: ("--engine", SYNTHETIC, "--synthetic", "replays", "--token-delay-ms", "40"),
    "xllamacpp": (*SMALL, "xllamacpp"),
    "llama-cpp-python": (*SMALL, "llama-cpp-python"),
}
TOKENS = 64
QUESTION = "Tell me a long story about the sea."


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with running_parts(tmp_path_factory.mktemp("handover")) as running:
        running.start("dispatcher-a")
        running.start("gateway-a", "--http", "127.0.0.1:0")
        running.ready("dispatcher-a", "gateway-a")
        yield running


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession(timeout=ClientTimeout(total=PATIENCE_S)) as opened:
        yield opened


@dataclass
class Answer:
    """One answer as its reader gets it."""

    session: ClientSession
    url: str
    model: str
    task: str = ""
    texts: list[str] = field(default_factory=list[str])
    finish_reason: str | None = None
    usage: Json = field(default_factory=Json)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    async def read(self) -> None:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": TOKENS,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {"x-ig3-cache": "off"}  # It asks the same again and again, and wants it written each time.
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            self.task = response.headers["x-ig3-task"]
            async for event in sse_events(response):
                if event.data not in (None, "[DONE]"):
                    self._take(event.json)

    def _take(self, chunk: Json) -> None:
        assert "error" not in chunk, chunk
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk["choices"]:
            self.texts += [choice["delta"].get("content") or ""]
            self.finish_reason = choice["finish_reason"] or self.finish_reason

    async def summary(self) -> Json:
        async with self.session.get(f"{self.url}/v1/tasks/{self.task}") as response:
            return await response.json()

    async def ended(self) -> Json:
        """The summary once the end is on record: a reader has the last word a moment before."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                summary = await self.summary()
                if summary["outcome"] is not None:
                    return summary
                await asyncio.sleep(0.05)


def model_of(engine: str) -> str:
    """One model id for each engine, so that an answer stays with the engine under test."""
    return f"{engine}-model"


def start_node(parts: Parts, name: str, engine: str, model_id: str | None = None, *, heartbeat: str = "10s") -> Running:
    """Start a node that is not taken for lost while this machine stalls, unless it reports more often."""
    model = ("--model-id", model_id or model_of(engine))
    return parts.start(name, *ENGINES[engine], *model, "--id", name, "--heartbeat", heartbeat, "--drain", "0s")


async def nodes_of(parts: Parts, engine: str) -> tuple[str, str]:
    names = (f"node-{engine}-1", f"node-{engine}-2")
    for name in names:
        start_node(parts, name, engine)
    await asyncio.to_thread(parts.ready, *names)
    return names


def new_answer(parts: Parts, session: ClientSession, model: str) -> Answer:
    return Answer(session, parts.urls["gateway-a"], model)


async def half_written(
    parts: Parts, session: ClientSession, model: str, *names: str
) -> tuple[Answer, asyncio.Task[None], Running]:
    """Have an answer begun by one of these nodes, which stands still now: it cannot have been faster than this test."""
    nodes = [parts.running[name] for name in names]
    while True:
        answer = new_answer(parts, session, model)
        reading = asyncio.create_task(answer.read())
        await until(partial(_is_under_way, answer, reading))
        for node in nodes:
            os.kill(node.pid, signal.SIGSTOP)
        summary = await answer.summary()
        is_half_written = summary["finish_reason"] is None and summary["attempt"] == 1
        for node in nodes:
            if not is_half_written or node.name != summary["node"]:
                os.kill(node.pid, signal.SIGCONT)
        if is_half_written:
            return answer, reading, parts.running[summary["node"]]
        await reading


def _is_under_way(answer: Answer, reading: asyncio.Task[None]) -> bool:
    return bool(answer.text) or reading.done()


def stop_now(*leaving: Running) -> None:
    for running in leaving:
        os.kill(running.pid, signal.SIGTERM)
        os.kill(running.pid, signal.SIGCONT)


async def assert_left(*leaving: Running) -> None:
    for running in leaving:
        assert await asyncio.to_thread(running.process.wait, PATIENCE_S) == 0, running.output


@pytest.mark.parametrize("engine", ["xllamacpp", "llama-cpp-python"])
async def test_the_answer_of_a_node_that_stops_equals_the_uninterrupted_one(
    parts: Parts, session: ClientSession, engine: str
) -> None:
    names = await nodes_of(parts, engine)
    whole = new_answer(parts, session, model_of(engine))
    await whole.read()
    handed, reading, node = await half_written(parts, session, model_of(engine), *names)
    stop_now(node)
    await reading
    await assert_left(node)
    summary = await handed.ended()
    (other,) = set(names) - {node.name}
    assert handed.text == whole.text
    assert (handed.finish_reason, handed.usage) == (whole.finish_reason, whole.usage)
    assert (summary["outcome"], summary["attempt"], summary["node"]) == ("completed", 2, other)
    parts.running[other].stop()


@pytest.mark.parametrize("engines", [("xllamacpp", "llama-cpp-python"), ("llama-cpp-python", "xllamacpp")])
async def test_another_engine_goes_on_from_the_text_of_a_node_that_hangs(
    parts: Parts, session: ClientSession, engines: tuple[str, str]
) -> None:
    """The words may be others than the first engine would have found, but none is lost, and the reader sees no seam."""
    begins, goes_on = (f"node-begins-{engines[0]}", f"node-goes-on-{engines[1]}")
    model = f"{engines[0]}-or-another"
    start_node(parts, begins, engines[0], model, heartbeat="1s")
    await asyncio.to_thread(parts.ready, begins)
    answer, reading, node = await half_written(parts, session, model, begins)
    start_node(parts, goes_on, engines[1], model)
    await asyncio.to_thread(parts.ready, goes_on)
    await reading
    summary = await answer.ended()
    before, after = summary["shares"]
    assert (summary["outcome"], summary["attempt"]) == ("completed", 2)
    assert [before["node"], after["node"]] == [begins, goes_on]
    assert min(before["chars"], after["chars"]) > 0
    assert before["chars"] + after["chars"] == len(answer.text)
    assert await seams(session, answer) == [None, "continued"]
    assert answer.usage["completion_tokens"] <= TOKENS
    assert answer.finish_reason in {"length", "stop"}
    assert (answer.finish_reason == "length") == (answer.usage["completion_tokens"] == TOKENS)
    os.kill(node.pid, signal.SIGCONT)
    for running in (node, parts.running[goes_on]):
        running.stop()


async def seams(session: ClientSession, answer: Answer) -> list[str | None]:
    """How each attempt at an answer joined what was there."""
    async with session.get(f"{answer.url}/v1/tasks/{answer.task}/events") as response:
        bodies = [event.json async for event in sse_events(response) if event.data is not None]
    return [body.get("seam") for body in bodies if body["type"] == "task.assigned.v1"]


async def test_a_node_and_its_dispatcher_may_stop_at_the_same_moment(parts: Parts, session: ClientSession) -> None:
    """And the other node need not be able to go on from a text: it writes it again, behind the reader's back."""
    names = await nodes_of(parts, REPLAYING)
    whole = new_answer(parts, session, model_of(REPLAYING))
    await whole.read()
    handed, reading, node = await half_written(parts, session, model_of(REPLAYING), *names)
    stop_now(parts.running["dispatcher-a"], node)
    parts.start("dispatcher-b")
    await reading
    await assert_left(parts.running["dispatcher-a"], node)
    (other,) = set(names) - {node.name}
    assert handed.text == whole.text
    assert handed.usage == whole.usage
    assert (await handed.summary())["node"] == other
    parts.ready("dispatcher-b")
