"""Anthropic's own Python client against the gateway: text, streams, functions, errors, and the rest of a stream."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
import pytest_asyncio

from tests.http_gateway import MODEL, HttpGateway, serve_http
from tests.mesh_in_process import InProcessMesh

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]

HELLO: Any = [{"role": "user", "content": "hello"}]
WEATHER: Any = {
    "name": "weather",
    "description": "Say how the weather is.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HttpGateway]:
    async with InProcessMesh(folder=Path(tmp_path_factory.mktemp("mesh"))) as mesh:
        await mesh.add_dispatcher()
        await mesh.add_node(interval_s=5)
        async with serve_http(mesh.bus) as serving:
            await serving.until_served()
            yield serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(gateway: HttpGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="none", max_retries=0) as connected:
        yield connected


async def test_a_plain_answer(client: anthropic.AsyncAnthropic) -> None:
    answer = await client.messages.create(model=MODEL, max_tokens=7, system="Be brief.", messages=HELLO)
    (block,) = answer.content
    assert block.type == "text"
    assert len(block.text.split()) == 7
    assert (answer.role, answer.stop_reason, answer.model) == ("assistant", "max_tokens", MODEL)
    assert answer.usage.output_tokens == 7
    assert answer.usage.input_tokens > 0
    assert answer._request_id is not None


async def test_a_stream_says_the_same_as_the_plain_answer(client: anthropic.AsyncAnthropic) -> None:
    plain = await client.messages.create(model=MODEL, max_tokens=30, messages=HELLO)
    async with client.messages.stream(model=MODEL, max_tokens=30, messages=HELLO) as stream:
        whole = await stream.get_final_message()
    assert whole.content[0].model_dump(exclude={"parsed_output"}) == plain.content[0].model_dump()
    assert whole.usage.model_dump() == plain.usage.model_dump()
    assert (whole.stop_reason, plain.stop_reason) == ("max_tokens", "max_tokens")
    raw = await client.messages.create(model=MODEL, max_tokens=3, messages=HELLO, stream=True)
    kinds = [event.type async for event in raw]
    assert kinds[:3] == ["message_start", "content_block_start", "content_block_delta"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


async def test_functions_are_called_streamed_and_answered(client: anthropic.AsyncAnthropic) -> None:
    ask: Any = {
        "model": MODEL,
        "max_tokens": 200,
        "messages": [{"role": "user", "content": "weather"}],
        "tools": [WEATHER],
    }
    called = await client.messages.create(**ask, tool_choice={"type": "any"})
    assert called.stop_reason == "tool_use"
    (use,) = [block for block in called.content if block.type == "tool_use"]
    assert use.name == "weather"
    assert set(use.input) == {"city"}
    async with client.messages.stream(**ask, tool_choice={"type": "tool", "name": "weather"}) as stream:
        whole = await stream.get_final_message()
    assert [block.input for block in whole.content if block.type == "tool_use"] == [use.input]
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "rain"}]}
    turns = [*ask["messages"], {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
    told = await client.messages.create(**{**ask, "messages": turns}, tool_choice={"type": "none"})
    assert told.content[0].type == "text"


async def test_an_answer_keeps_to_a_schema(client: anthropic.AsyncAnthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    answer = await client.messages.create(
        model=MODEL,
        max_tokens=100,
        messages=HELLO,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    (block,) = answer.content
    assert block.type == "text"
    assert isinstance(json.loads(block.text)["n"], int)


async def test_errors_are_those_that_the_client_knows(gateway: HttpGateway, client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        await client.messages.create(model="nobody", max_tokens=1, messages=HELLO)
    assert isinstance(missing.value.body, dict)
    assert missing.value.body["type"] == "error"
    assert missing.value.body["error"]["type"] == "not_found_error"
    for body, param in (
        ({"messages": HELLO}, "max_tokens"),
        ({"messages": HELLO, "max_tokens": 1, "top_k": 3}, "top_k"),
        ({"messages": HELLO, "max_tokens": 1, "thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type"),
        ({"messages": [{"role": "system", "content": "x"}], "max_tokens": 1}, "messages[0].role"),
        ({"messages": HELLO, "max_tokens": 1, "tool_choice": {"type": "any"}}, "tool_choice"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}], "max_tokens": 1},
            "messages[0].content[0].type",
        ),
        (
            {
                "messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]}],
                "max_tokens": 1,
            },
            "messages[0].content[0].type",
        ),
        (
            {
                "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}],
                "max_tokens": 1,
            },
            "messages[0].tool_call_id",
        ),
    ):
        answer = await gateway.post("/v1/messages", {"model": MODEL, **body})
        told = await answer.json()
        assert (answer.status, told["type"], told["error"]["type"]) == (400, "error", "invalid_request_error"), body
        assert told["error"]["param"] == param


async def test_who_comes_back_with_the_last_id_gets_the_rest(gateway: HttpGateway) -> None:
    body = {"model": MODEL, "max_tokens": 20, "messages": HELLO, "stream": True}
    whole = await gateway.post("/v1/messages", body)
    task = whole.headers["x-ig3-task"]
    blocks = (await whole.text()).split("\n\n")
    ids = [int(block.split("\n")[0].removeprefix("id: ")) for block in blocks if block.startswith("id: ")]
    for last in ids[:-1]:
        at = next(index for index, block in enumerate(blocks) if block.startswith(f"id: {last}\n"))
        rest = await gateway.post("/v1/messages", body, x_ig3_task=task, Last_Event_ID=str(last))
        assert await rest.text() == "\n\n".join(blocks[at + 1 :])


async def test_a_key_may_come_as_anthropics_clients_send_it(gateway: HttpGateway) -> None:
    async with serve_http(gateway.bus, auth="required") as guarded:
        answer = await guarded.post(
            "/v1/messages", {"model": MODEL, "max_tokens": 1, "messages": HELLO}, x_api_key="ig3_x"
        )
        told = await answer.json()
        assert (answer.status, told["error"]["type"]) == (401, "authentication_error")
        assert "ig3_x" not in json.dumps(told)
