"""Functions, formats and log probabilities over HTTP, on a mesh where one node of two can do them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any, get_args

import openai
import pytest
import pytest_asyncio
from aiohttp import ClientResponse, web

from gateway.fetching.fetcher import Fetcher, FetchPolicy
from gateway.http.site import SITE
from mesh.bus.answer import follow
from nodes.engine import EngineSpec
from streams.devices.replica import Ability
from streams.events import TaskAssigned
from streams.subjects import TaskKey
from streams.tasks.task_id import parse_task_id
from streams.tokens import Token
from tests.http_gateway import LIMIT_S, MODEL, HttpGateway, read_sse, serve_http, sse_events
from tests.mesh_in_process import InProcessMesh
from tests.served_app import served

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]

CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "description": "Says something.", "parameters": CITY}}
    for name in ("weather", "clock")
]
WEATHER = {"type": "function", "function": {"name": "weather"}}
ASKED: dict[str, Any] = {"tools": TOOLS, "tool_choice": WEATHER, "max_tokens": 200}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HttpGateway]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh") / "data") as mesh:
        await mesh.add_dispatcher()
        await mesh.add_node("able", interval_s=5)
        plain = EngineSpec(engine="synthetic", slots=64, without=get_args(Ability))
        await mesh.add_node("plain", interval_s=5, spec=plain)
        async with serve_http(mesh.bus) as serving:
            await serving.until_served()
            yield serving


async def assignment(gateway: HttpGateway, task: str) -> TaskAssigned:
    key = TaskKey(Token("local"), parse_task_id(task))
    async with asyncio.timeout(LIMIT_S):
        async for steps in follow(gateway.bus.source, key):
            for step in steps:
                if isinstance(step.event, TaskAssigned):
                    return step.event
    raise AssertionError("nobody got the task")


def gathered(chunks: list[dict[str, Any]]) -> tuple[str, list[dict[str, str]]]:
    """The text and the calls of a stream, put together as clients do."""
    text, calls = "", list[dict[str, str]]()
    for chunk in chunks:
        delta = chunk["choices"][0]["delta"]
        text += delta.get("content") or ""
        for piece in delta.get("tool_calls", ()):
            if "id" in piece:
                assert piece["index"] == len(calls)
                calls.append({"id": piece["id"], "name": piece["function"]["name"], "arguments": ""})
            calls[piece["index"]]["arguments"] += piece["function"]["arguments"]
    return text, calls


async def test_a_named_function_is_called_by_the_node_that_can(gateway: HttpGateway) -> None:
    response = await gateway.ask(ASKED)
    choice = (await response.json())["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"], call["type"]) == ("tool_calls", None, "function")
    assert call["function"]["name"] == "weather"
    assert isinstance(json.loads(call["function"]["arguments"])["city"], str)
    chosen = await assignment(gateway, response.headers["x-ig3-task"])
    assert chosen.node == "able"
    reasons = {candidate.node: candidate.rejected for candidate in chosen.candidates}
    assert "lacks" in str(reasons["plain"])
    assert "tools" in str(reasons["plain"])


async def test_a_stream_calls_as_the_whole_answer_does(gateway: HttpGateway) -> None:
    whole = (await (await gateway.ask(ASKED)).json())["choices"][0]["message"]["tool_calls"]
    events = await read_sse(await gateway.ask({**ASKED, "stream": True}))
    chunks = [event.json for event in events[:-1]]
    text, calls = gathered(chunks)
    assert (text, chunks[-1]["choices"][0]["finish_reason"]) == ("", "tool_calls")
    assert [(call["name"], call["arguments"]) for call in calls] == [
        (call["function"]["name"], call["function"]["arguments"]) for call in whole
    ]


async def test_a_stream_that_is_dropped_inside_a_call_goes_on_without_repeat_or_gap(gateway: HttpGateway) -> None:
    response = await gateway.ask({**ASKED, "stream": True})
    task = response.headers["x-ig3-task"]
    all_events = [event async for event in sse_events(response) if event.data != "[DONE]"]
    expected = gathered([event.json for event in all_events])
    for at, event in enumerate(all_events):
        if event.id is None:
            continue
        resumed = await gateway.ask({**ASKED, "stream": True}, x_ig3_task=task, Last_Event_ID=event.id)
        rest = [event.json for event in (await read_sse(resumed))[:-1]]
        assert gathered([event.json for event in all_events[: at + 1]] + rest) == expected


async def test_a_function_that_need_not_be_called_leaves_text(gateway: HttpGateway) -> None:
    for choice in ("none", "auto"):
        answer = await (await gateway.ask({"tools": TOOLS, "tool_choice": choice})).json()
        message = answer["choices"][0]["message"]
        assert message["content"]
        assert "tool_calls" not in message


async def test_a_conversation_with_a_call_and_its_result_is_answered(gateway: HttpGateway) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    messages = [
        {"role": "user", "content": "How is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "It rains."}]},
    ]
    response = await gateway.ask({"messages": messages, "tools": TOOLS})
    assert response.status == 200, await response.text()
    assert (await response.json())["choices"][0]["message"]["content"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_under_a_schema_keeps_to_it(gateway: HttpGateway, stream: bool) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    response = await gateway.ask({"response_format": wanted, "max_tokens": 200, "stream": stream})
    if stream:
        text, _ = gathered([event.json for event in (await read_sse(response))[:-1]])
    else:
        text = (await response.json())["choices"][0]["message"]["content"]
    assert isinstance(json.loads(text)["city"], str)


async def test_log_probabilities_are_those_of_the_text(gateway: HttpGateway) -> None:
    choice = (await (await gateway.ask({"logprobs": True, "top_logprobs": 2})).json())["choices"][0]
    tokens = choice["logprobs"]["content"]
    raw = b"".join(bytes(token["bytes"]) for token in tokens)
    assert raw.decode() == choice["message"]["content"]
    assert all(len(token["top_logprobs"]) == 2 and token["logprob"] <= 0 for token in tokens)
    assert choice["logprobs"]["refusal"] is None
    plain = (await (await gateway.ask()).json())["choices"][0]
    assert plain["logprobs"] is None


async def test_what_plain_nodes_can_do_goes_to_them_too(gateway: HttpGateway) -> None:
    response = await gateway.ask({"tools": [], "tool_choice": "none", "logprobs": False, "logit_bias": {}})
    assert response.status == 200
    chosen = await assignment(gateway, response.headers["x-ig3-task"])
    assert [candidate.rejected for candidate in chosen.candidates if candidate.node == "plain"] == [None]


async def test_the_list_of_models_says_what_one_of_the_replicas_can_do(gateway: HttpGateway) -> None:
    model = await (await gateway.get(f"/v1/models/{MODEL}")).json()
    assert set(model["abilities"]) == set(get_args(Ability))


async def test_openais_client_reads_calls_and_parses_what_keeps_to_a_schema(gateway: HttpGateway) -> None:
    strict: list[Any] = [{**tool, "function": {**tool["function"], "strict": True}} for tool in TOOLS]
    async with (
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
        client.chat.completions.stream(
            model=MODEL,
            messages=[{"role": "user", "content": "clock and weather"}],
            tools=strict,
            tool_choice="required",
        ) as stream,
    ):
        completion = await stream.get_final_completion()
    calls = completion.choices[0].message.tool_calls or []
    assert completion.choices[0].finish_reason == "tool_calls"
    assert calls
    assert {call.function.name for call in calls} <= {"weather", "clock"}
    assert all("city" in json.loads(call.function.arguments) for call in calls)


PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


def looking_at(url: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": parts}]}


async def text_of_answer(response: ClientResponse) -> str:
    assert response.status == 200, await response.text()
    return (await response.json())["choices"][0]["message"]["content"]


async def see_it_over_the_other_apis(gateway: HttpGateway, good: tuple[str, str], bad: str, seen: str) -> None:
    """The same picture by Responses and Messages, as bytes and by URL; what is no picture is refused by its place."""
    sent, url = good
    text = {"type": "text", "text": "What is this?"}
    sources = (
        {"type": "base64", "media_type": "image/png", "data": sent.partition(",")[2]},
        {"type": "url", "url": url},
    )
    for source in (*sources, {"type": "url", "url": bad}):
        content = [text, {"type": "image", "source": source}]
        asked = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": content}]}
        answer = await (await gateway.post("/v1/messages", asked)).json()
        if source.get("url") == bad:
            assert answer["error"]["param"] == "messages[0].content[1].source"
        else:
            assert answer["content"][0]["text"] == seen
    for shown in (sent, url, bad):
        parts = [{**text, "type": "input_text"}, {"type": "input_image", "image_url": shown}]
        asked = {"model": MODEL, "max_output_tokens": 5, "input": [{"role": "user", "content": parts}]}
        answer = await (await gateway.post("/v1/responses", asked)).json()
        if shown == bad:
            assert answer["error"]["param"] == "input[0].content[1].image_url"
        else:
            assert answer["output"][0]["content"][0]["text"] == seen


async def test_a_picture_is_seen_wherever_it_comes_from(gateway: HttpGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def show(request: web.Request) -> web.Response:
        # What a server says of its type is not believed.
        shown = PNG if request.path == "/x.png" else b"<html>"
        return web.Response(body=shown, content_type="text/html")

    async def home(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    app = web.Application()
    app.router.add_get("/{name}", show)
    monkeypatch.setattr(
        gateway.server._app[SITE],
        "fetcher",
        Fetcher(FetchPolicy(urls="http", resolve=home, is_allowed=lambda address: address.is_loopback)),
    )
    async with served(app) as url:
        there = url.replace("127.0.0.1", "pictures.test")
        sent = "data:image/png;base64," + base64.b64encode(PNG).decode()
        other = "data:image/png;base64," + base64.b64encode(PNG + b"1").decode()
        seen = await text_of_answer(await gateway.ask(looking_at(sent)))
        assert await text_of_answer(await gateway.ask(looking_at(f"{there}/x.png"))) == seen
        assert await text_of_answer(await gateway.ask(looking_at(other))) != seen
        await see_it_over_the_other_apis(gateway, (sent, f"{there}/x.png"), f"{there}/page", seen)
        for stream in (False, True):
            refused = await gateway.ask({**looking_at(f"{there}/page"), "stream": stream})
            error = (await refused.json())["error"]
            assert (refused.status, error["code"]) == (400, "invalid_image")
            assert error["param"] == "messages[0].content[1].image_url.url"
    # What was refused after it was admitted holds no place.
    assert (await gateway.ask()).status == 200
