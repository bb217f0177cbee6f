"""An answer goes on where its reader left it: after a hang-up, and at another gateway."""

from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import ClientResponse, ClientSession

from tests.http_gateway import Sse, read_sse, sse_events, text_of
from tests.running_mesh import IG3, Running, RunningMesh

pytestmark = pytest.mark.timeout(240)

LEFT_AFTER = 4


@pytest.fixture(scope="module")
def other_gateway(smollm: RunningMesh) -> Iterator[str]:
    """A second gateway on the same mesh; its URL."""
    with Running("gateway-2", [str(IG3), "gateway", "--http", "127.0.0.1:0"], smollm.place) as gateway:
        yield gateway.ready().url


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as opened:
        yield opened


async def ask(session: ClientSession, url: str, **headers: str) -> ClientResponse:
    body = {
        "model": "smollm2-135m-instruct",
        "messages": [{"role": "user", "content": "Tell me about the sea."}],
        "max_tokens": 60,
        "stream": True,
    }
    return await session.post(f"{url}/v1/chat/completions", json=body, headers=headers)


async def begin(session: ClientSession, url: str) -> tuple[str, str, list[Sse]]:
    """Read the beginning of an answer, then hang up. Returns the task, the last event's id, and what was read.

    One that came in too few pieces, as behind a stall, counts not: another one is asked for.
    """
    while True:
        async with await ask(session, url) as answer:
            seen: list[Sse] = []
            async for event in sse_events(answer):
                seen.append(event)
                if len([event for event in seen if event.id]) == LEFT_AFTER:
                    break
            last = seen[-1].id
            if last is not None and seen[-1].json["choices"][0]["finish_reason"] is None:
                return answer.headers["x-ig3-task"], last, seen


async def events(session: ClientSession, url: str, task: str, after: str) -> list[Sse]:
    async with session.get(f"{url}/v1/tasks/{task}/events", headers={"Last-Event-ID": after}) as answer:
        return await read_sse(answer)


def told(stream: list[Sse]) -> str:
    """The text in the events of a task."""
    return "".join(event.json.get("text", "") for event in stream)


async def test_the_events_go_on_at_another_gateway(
    smollm: RunningMesh, other_gateway: str, session: ClientSession
) -> None:
    task, last, seen = await begin(session, smollm.url)
    rest = await events(session, other_gateway, task, last)
    ids = [int(event.id or 0) for event in rest]
    assert ids == list(range(int(last) + 1, ids[-1] + 1))
    assert rest[-1].json["outcome"] == "completed"
    whole = await events(session, smollm.url, task, "0")
    assert [int(event.id or 0) for event in whole] == list(range(1, ids[-1] + 1))
    assert text_of(seen) + told(rest) == told(whole)


async def test_the_same_request_goes_on_at_another_gateway(
    smollm: RunningMesh, other_gateway: str, session: ClientSession
) -> None:
    task, last, seen = await begin(session, smollm.url)
    async with await ask(session, other_gateway, **{"x-ig3-task": task, "Last-Event-ID": last}) as answer:
        assert answer.headers["x-ig3-task"] == task
        rest = await read_sse(answer)
    assert rest[-1].data == "[DONE]"
    assert text_of(seen) + text_of(rest) == told(await events(session, other_gateway, task, "0"))


async def test_hanging_up_does_not_end_the_answer(smollm: RunningMesh, session: ClientSession) -> None:
    task, last, _ = await begin(session, smollm.url)
    rest = await events(session, smollm.url, task, last)
    assert rest[-1].json["outcome"] == "completed"
    async with session.get(f"{smollm.url}/v1/tasks/{task}") as answer:
        assert (await answer.json())["usage"]["completion_tokens"] == 60


async def test_a_task_that_has_ended_has_no_more_events(smollm: RunningMesh, session: ClientSession) -> None:
    task, _, _ = await begin(session, smollm.url)
    last = (await events(session, smollm.url, task, "0"))[-1].id
    async with session.get(f"{smollm.url}/v1/tasks/{task}/events", params={"after": str(last)}) as answer:
        assert answer.status == 204
