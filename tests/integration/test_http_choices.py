"""Several answers to one chat request: whole, as one stream, again, and where one of them comes to nothing."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from gateway.http.site import SITE
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id, parse_task_id, sibling_task_id
from streams.tokens import Token
from tests.http_gateway import MODEL, HttpGateway, read_sse, serve_http
from tests.mesh_in_process import InProcessMesh

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]

THREE: dict[str, Any] = {"n": 3, "max_tokens": 6, "seed": 5}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HttpGateway]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh") / "data") as mesh:
        await mesh.add_dispatcher()
        await mesh.add_node(interval_s=5)
        async with serve_http(mesh.bus) as serving:
            await serving.until_served()
            yield serving


def by_index(chunks: list[dict[str, Any]]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + (choice["delta"].get("content") or "")
    return texts


async def test_each_choice_is_a_task_of_its_own_and_the_usage_is_that_of_all(gateway: HttpGateway) -> None:
    response = await gateway.ask(THREE)
    answer = await response.json()
    first = parse_task_id(response.headers["x-ig3-task"])
    assert answer["id"] == f"chatcmpl-{first}"
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert all(len(choice["message"]["content"].split()) == 6 for choice in answer["choices"])
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (3, 18)
    seeds: list[int | None] = []
    for number in range(3):
        task = first if number == 0 else sibling_task_id(first, number)
        summary = await (await gateway.get(f"/v1/tasks/{task}")).json()
        assert (summary["outcome"], summary["usage"]["completion_tokens"]) == ("completed", 6)
        found = await gateway.server._app[SITE].submissions.find(TaskKey(Token("local"), task))
        assert found is not None
        seeds.append(found.asked.sampling.seed)
    assert seeds == [5, 6, 7]


async def test_a_stream_carries_all_of_them_and_ends_once(gateway: HttpGateway) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    response = await gateway.ask({**THREE, **options})
    events = await read_sse(response)
    assert events[-1].data == "[DONE]"
    assert {event.id for event in events} == {None}
    *chunks, last = [event.json for event in events[:-1]]
    assert {chunk["id"] for chunk in chunks} == {f"chatcmpl-{response.headers['x-ig3-task']}"}
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 18)
    assert sorted(
        choice["index"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"] is not None
    ) == [0, 1, 2]
    whole = await (await gateway.ask(THREE, x_ig3_task=response.headers["x-ig3-task"])).json()
    assert by_index(chunks) == {choice["index"]: choice["message"]["content"] for choice in whole["choices"]}


async def test_the_same_request_again_is_the_same_answer(gateway: HttpGateway) -> None:
    key = {"Idempotency_Key": "three answers"}
    first = await (await gateway.ask(THREE, **key)).read()
    assert await (await gateway.ask(THREE, **key)).read() == first
    other = await gateway.ask({**THREE, "n": 2}, **key)
    assert (other.status, (await other.json())["error"]["code"]) == (409, "idempotency_key_reused")


async def test_several_answers_never_come_from_the_cache(gateway: HttpGateway) -> None:
    one = {"seed": 77, "temperature": 0, "max_tokens": 4}
    for _ in range(2):
        several = await gateway.ask({**one, "n": 2}, x_ig3_cache="use")
        assert several.headers["x-ig3-cache"] == "bypass"
        assert len((await several.json())["choices"]) == 2


async def test_a_stream_of_several_is_not_gone_on_with(gateway: HttpGateway) -> None:
    task = (await gateway.ask(THREE)).headers["x-ig3-task"]
    refused = await gateway.ask({**THREE, "stream": True}, x_ig3_task=task, Last_Event_ID="3")
    error = (await refused.json())["error"]
    assert (refused.status, error["code"], error["param"]) == (400, "unsupported_value", "Last-Event-ID")


@pytest.mark.parametrize("stream", [False, True])
async def test_where_one_comes_to_nothing_the_request_fails_with_its_reason(gateway: HttpGateway, stream: bool) -> None:
    long = [{"role": "user", "content": "word " * 9000}]
    refused = await gateway.ask({"n": 2, "messages": long, "stream": stream})
    assert (refused.status, (await refused.json())["error"]["code"]) == (400, "context_length_exceeded")


async def test_what_there_is_no_room_for_is_refused_before_any_is_stored(gateway: HttpGateway) -> None:
    async with serve_http(gateway.bus, open_limit=2) as narrow:
        await narrow.until_served()
        task = new_task_id()
        refused = await narrow.ask(THREE, x_ig3_task=task)
        assert (refused.status, (await refused.json())["error"]["code"]) == (429, "rate_limit_exceeded")
        assert (await narrow.get(f"/v1/tasks/{task}")).status == 404
        assert (await narrow.ask({"n": 2})).status == 200


async def test_openais_client_puts_them_together(gateway: HttpGateway) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}], n=2, stream=True, max_tokens=3
        )
        indices = {choice.index async for chunk in stream for choice in chunk.choices}
    assert indices == {0, 1}
