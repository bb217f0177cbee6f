"""Cancelling an answer that is being written: over HTTP, and by hanging up."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from aiohttp import ClientResponse, ClientSession, ClientTimeout

from streams.tasks.task_id import new_task_id
from tests.http_gateway import Json, sse_events, text_of
from tests.processes import PATIENCE_S
from tests.running_mesh import SYNTHETIC, RunningMesh

pytestmark = pytest.mark.timeout(240)

POLL_S = 0.02
LONG = 5000
"""Tokens of an answer that nobody wants to wait for."""


@pytest.fixture
async def session(synthetic: RunningMesh) -> AsyncIterator[ClientSession]:
    async with ClientSession(synthetic.url, timeout=ClientTimeout(total=PATIENCE_S)) as opened:
        yield opened


async def ask(
    session: ClientSession, headers: Mapping[str, str] | None = None, *, stream: bool = True
) -> ClientResponse:
    body = {
        "model": SYNTHETIC,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": LONG,
        "stream": stream,
    }
    return await session.post("/v1/chat/completions", json=body, headers=headers)


async def read_some(answer: ClientResponse) -> str:
    """Read until there is some of the text."""
    async for event in sse_events(answer):
        if event.data is not None and (text := text_of([event])):
            return text
    raise AssertionError("the answer ended without a word")


async def read_on(following: ClientResponse, words: int) -> str:
    """Follow the task's events until there are so many words; returns the type of the last event."""
    text = ""
    async for event in sse_events(following):
        if event.data is not None:
            text += event.json.get("text", "")
            if len(text.split()) >= words:
                return event.json["type"]
    raise AssertionError(f"the answer ended behind {text!r}")


async def summary(session: ClientSession, task: str) -> Json:
    async with session.get(f"/v1/tasks/{task}") as answer:
        return await answer.json()


async def cancel(session: ClientSession, task: str) -> bool:
    """Whether there was such a task to cancel."""
    async with session.post(f"/v1/tasks/{task}/cancel") as answer:
        return answer.status == 200


async def end_of(session: ClientSession, task: str) -> Json:
    """Follow the task's events to the last one."""
    async with session.get(f"/v1/tasks/{task}/events") as answer:
        return [event async for event in sse_events(answer)][-1].json


async def test_cancelled_over_http(session: ClientSession) -> None:
    async with await ask(session) as answer:
        await read_some(answer)
        task = answer.headers["x-ig3-task"]
        assert (await summary(session, task))["phase"] == "running"
        async with session.post(f"/v1/tasks/{task}/cancel") as cancelled:
            assert await cancelled.json() == {"id": task, "object": "task.cancel", "outcome": "cancelled"}
        rest = [event async for event in sse_events(answer)]
    assert rest[-1].json["error"]["code"] == "cancelled"
    told = await summary(session, task)
    assert (told["outcome"], told["finish_reason"]) == ("cancelled", None)
    assert 0 < told["shares"][0]["tokens"] < LONG


async def test_cancelled_on_the_command_line(synthetic: RunningMesh, session: ClientSession) -> None:
    async with await ask(session) as answer:
        await read_some(answer)
        task = answer.headers["x-ig3-task"]
        said = await asyncio.to_thread(synthetic.place.ok, "tasks", "cancel", task)
        assert said.split() == [task, "cancelled"]
        rest = [event async for event in sse_events(answer)]
    assert rest[-1].json["error"]["message"] == "cancelled by ig3 tasks cancel"
    again = await asyncio.to_thread(synthetic.place.ok, "tasks", "cancel", task)
    assert again == said


async def test_a_plain_answer_that_is_cancelled_is_an_error_that_nobody_retries(session: ClientSession) -> None:
    task = new_task_id()
    asking = asyncio.create_task(ask(session, {"x-ig3-task": task}, stream=False))
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await asyncio.sleep(POLL_S)
            if await cancel(session, task):
                break
    async with await asking as answer:
        assert answer.status == 499
        assert (await answer.json())["error"]["code"] == "cancelled"


async def test_a_second_cancel_finds_the_first(session: ClientSession) -> None:
    async with await ask(session) as answer:
        task = answer.headers["x-ig3-task"]
    for _ in range(2):
        async with session.post(f"/v1/tasks/{task}/cancel") as cancelled:
            assert (await cancelled.json())["outcome"] == "cancelled"


async def test_a_task_that_nobody_submitted_cannot_be_cancelled(session: ClientSession) -> None:
    async with session.post(f"/v1/tasks/{new_task_id()}/cancel") as answer:
        assert answer.status == 404
        assert (await answer.json())["error"]["code"] == "task_not_found"


async def test_hanging_up_cancels_where_that_was_asked_for(session: ClientSession) -> None:
    async with await ask(session, {"x-ig3-on-disconnect": "cancel"}) as answer:
        await read_some(answer)
        task = answer.headers["x-ig3-task"]
    end = await end_of(session, task)
    assert end["outcome"] == "cancelled"
    assert end["error"]["message"] == "the client hung up"


async def test_hanging_up_changes_nothing_otherwise(session: ClientSession) -> None:
    async with await ask(session) as answer:
        await read_some(answer)
        task = answer.headers["x-ig3-task"]
    async with session.get(f"/v1/tasks/{task}/events") as following:
        assert await read_on(following, 60) == "task.chunk.v1"
    async with session.post(f"/v1/tasks/{task}/cancel") as cancelled:
        assert (await cancelled.json())["outcome"] == "cancelled"
