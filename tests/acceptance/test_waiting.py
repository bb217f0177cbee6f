"""A mesh that cannot serve a task yet says so, with position and reason, and serves it as soon as it can."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import openai
import pytest
from aiohttp import ClientSession, ClientTimeout

from tests.http_gateway import Json, Sse, sse_events, text_of
from tests.processes import PATIENCE_S
from tests.running_mesh import IG3, SMALL_MODEL, Running, RunningMesh, running_up

pytestmark = pytest.mark.timeout(240)

REASON = "no node serves this model"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """A mesh that knows a model which nobody serves."""
    with running_up(tmp_path_factory.mktemp("waiting"), "--nodes", "0") as running:
        yield running


@pytest.fixture
async def session(mesh: RunningMesh) -> AsyncIterator[ClientSession]:
    # An answer goes on for as long as it takes a node to come up; what may not last is a silence.
    patience = ClientTimeout(total=None, sock_read=PATIENCE_S)
    async with ClientSession(mesh.url, timeout=patience) as opened:
        yield opened


class Waiting:
    """A reader of one answer; `queued` is set when it has been told that its task waits."""

    def __init__(self) -> None:
        self.queued = asyncio.Event()
        self.task = ""
        self.events: list[Sse] = []

    async def read(self, session: ClientSession, **headers: str) -> None:
        async with session.post("/v1/chat/completions", json=question(stream=True), headers=headers) as answer:
            self.task = answer.headers["x-ig3-task"]
            async for event in sse_events(answer):
                self.events.append(event)
                if self.told:
                    self.queued.set()

    @property
    def told(self) -> set[str]:
        """What it was told of its place; a gateway that has nothing to tell for long says so too."""
        comments = {comment for event in self.events for comment in event.comments}
        return comments - {"keep-alive", "waiting for the first words"}


def question(**wishes: object) -> Json:
    return {"model": SMALL_MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, **wishes}


async def read_stream(sdk: openai.AsyncOpenAI) -> None:
    async for chunk in await sdk.chat.completions.create(**question(stream=True)):
        assert chunk.choices == []


async def summary(session: ClientSession, task: str) -> Json:
    async with session.get(f"/v1/tasks/{task}") as answer:
        assert answer.status == 200
        return await answer.json()


async def cancel(session: ClientSession, task: str) -> str:
    async with session.post(f"/v1/tasks/{task}/cancel") as answer:
        assert answer.status == 200, await answer.text()
        return (await answer.json())["outcome"]


async def test_no_model_is_listed_but_one_is_known(session: ClientSession) -> None:
    async with session.get("/v1/models") as answer:
        assert (await answer.json())["data"] == []
    async with session.post("/v1/chat/completions", json=question(model="unheard-of")) as answer:
        assert answer.status == 404


@pytest.fixture
async def sdk(mesh: RunningMesh) -> AsyncIterator[openai.AsyncOpenAI]:
    impatient = {"x-ig3-deadline-ms": "200"}
    async with openai.AsyncOpenAI(
        base_url=f"{mesh.url}/v1", api_key="unused", max_retries=0, default_headers=impatient
    ) as client:
        yield client


async def test_a_task_past_its_deadline_ends_with_504(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="waited for a node") as caught:
        await sdk.chat.completions.create(**question())
    assert (caught.value.status_code, caught.value.code) == (504, "deadline_exceeded")


async def test_a_stream_past_its_deadline_ends_with_an_error(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APIError, match="waited for a node") as caught:
        await read_stream(sdk)
    assert caught.value.code == "deadline_exceeded"


async def test_a_waiting_task_can_be_cancelled(session: ClientSession) -> None:
    waiting = Waiting()
    reading = asyncio.create_task(waiting.read(session))
    await waiting.queued.wait()
    assert await cancel(session, waiting.task) == "cancelled"
    await reading
    assert waiting.events[-1].json["error"]["code"] == "cancelled"
    assert (await summary(session, waiting.task))["outcome"] == "cancelled"


async def test_tasks_say_that_they_wait_and_are_served_when_a_node_joins(
    mesh: RunningMesh, session: ClientSession
) -> None:
    readers = [Waiting(), Waiting()]
    reading: list[asyncio.Task[None]] = []
    for waiting in readers:
        reading.append(asyncio.create_task(waiting.read(session)))
        await waiting.queued.wait()
    assert [waiting.told for waiting in readers] == [
        {f"queued position={position} reason={REASON}"} for position in range(2)
    ]
    for position, waiting in enumerate(readers):
        told = await summary(session, waiting.task)
        assert (told["phase"], told["position"], told["reason"]) == ("waiting", position, REASON)

    with Running("node-late", [str(IG3), "node"], mesh.place) as node:
        assert node.ready().models == (SMALL_MODEL,)
        await asyncio.gather(*reading)
        for waiting in readers:
            assert waiting.events[-1].data == "[DONE]"
            assert text_of([event for event in waiting.events if event.data])
            assert (await summary(session, waiting.task))["outcome"] == "completed"
        async with session.post("/v1/chat/completions", json=question()) as answer:
            assert (await answer.json())["usage"]["completion_tokens"] == 5
