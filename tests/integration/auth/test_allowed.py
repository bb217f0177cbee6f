"""What a key may ask of a model holds whichever API it asks by: models, functions, length and time of answers."""

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from grpc.aio import AioRpcError

from gateway.rpc.wire import inference_pb2 as pb
from streams.access.limits import Bounds
from streams.clock import now_ms
from streams.codec import decode
from streams.events import TaskSubmitted
from streams.tasks.chat import Sampling
from tests.http_gateway import MODEL, serve_http
from tests.integration.auth.conftest import Guarded, guarding
from tests.integration.test_batches import ended, line
from tests.mesh_in_process import InProcessMesh
from tests.rpc_gateway import calling, question, refusal, serve_rpc

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT, COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
RESPONSES, EMBEDDINGS = "/v1/responses", "/v1/embeddings"
SAID: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": SAID},
    COMPLETIONS: {"prompt": "hello"},
    MESSAGES: {"messages": SAID, "max_tokens": 3},
    RESPONSES: {"input": "hello"},
    EMBEDDINGS: {"input": "hello"},
}
LENGTHS = {CHAT: "max_tokens", COMPLETIONS: "max_tokens", MESSAGES: "max_tokens", RESPONSES: "max_output_tokens"}
FUNCTION = {"name": "shell", "parameters": {"type": "object", "properties": {}}}
TOOLS: dict[str, Any] = {
    CHAT: {"type": "function", "function": FUNCTION},
    RESPONSES: {"type": "function", **FUNCTION},
    MESSAGES: {"name": "shell", "input_schema": FUNCTION["parameters"]},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("allowed")) as mesh, guarding(mesh) as running:
        yield running


async def said(guarded: Guarded, path: str, key: str, *, model: str = MODEL, **fields: Any) -> tuple[int, Any]:
    headers = {"Authorization": key, "x-ig3-cache": "off"}
    body = {"model": model, **BODIES[path], **fields}
    async with guarded.gateway.session.post(f"{guarded.gateway.url}{path}", json=body, headers=headers) as response:
        answer = await response.json()
        return response.status, answer.get("error") or answer


async def submitted(mesh: InProcessMesh) -> TaskSubmitted:
    """The latest task."""
    stream = await mesh.bus.edge.client.jetstream().get_last_msg("TASKS", "tasks.>")
    assert stream.data is not None
    return decode(stream.data, TaskSubmitted)


@pytest.mark.parametrize("path", BODIES)
async def test_a_model_that_is_not_the_keys_is_refused_by_every_api(guarded: Guarded, path: str) -> None:
    status, error = await said(guarded, path, await guarded.key("acme", models=("another",)))
    assert (status, "another" not in error["message"], "other models" in error["message"]) == (403, True, True)


@pytest.mark.parametrize("path", TOOLS)
async def test_a_function_that_is_not_the_keys_is_refused_by_every_api(guarded: Guarded, path: str) -> None:
    status, error = await said(guarded, path, await guarded.key("acme", tools=("weather",)), tools=[TOOLS[path]])
    assert (status, "shell" in error["message"]) == (403, True)


@pytest.mark.parametrize("path", LENGTHS)
async def test_a_longer_answer_than_the_keys_is_refused_and_an_open_one_is_cut(guarded: Guarded, path: str) -> None:
    key = await guarded.key("acme", bounds=Bounds(most_output_tokens=4))
    longer: dict[str, Any] = {LENGTHS[path]: 5}
    status, error = await said(guarded, path, key, **longer)
    assert (status, "at most 4 tokens" in error["message"]) == (400, True)
    status, answer = await said(guarded, path, key)
    usage = answer["usage"]
    written = usage.get("completion_tokens", usage.get("output_tokens"))
    assert (status, written) == (200, 3 if path == MESSAGES else 4)


async def test_every_choice_of_a_request_is_cut(guarded: Guarded) -> None:
    key = await guarded.key("acme", bounds=Bounds(most_output_tokens=4))
    status, answer = await said(guarded, CHAT, key, n=2)
    assert (status, answer["usage"]["completion_tokens"]) == (200, 8)


async def test_a_keys_time_is_its_tasks_deadline(guarded: Guarded) -> None:
    key = await guarded.key("acme", bounds=Bounds(most_seconds=25))
    asked = {"model": MODEL, "messages": SAID, "max_tokens": 1}
    refused = await guarded.gateway.post(CHAT, asked, Authorization=key, x_ig3_deadline_ms="25001")
    error = (await refused.json())["error"]
    assert (refused.status, error["code"], error["param"]) == (400, "invalid_value", "x-ig3-deadline-ms")
    for headers, most_ms in (({}, 25_000), ({"x_ig3_deadline_ms": "20000"}, 20_000)):
        asked_at_ms = now_ms()
        answer = await guarded.gateway.post(CHAT, asked, Authorization=key, x_ig3_cache="off", **headers)
        assert answer.status == 200
        task = await submitted(guarded.mesh)
        assert task.deadline_at_ms is not None
        created_ms = int(answer.headers["x-ig3-task"][:12], 16)
        # It counts from when the request was read: behind when it was sent, and before its task was made.
        assert asked_at_ms + most_ms <= task.deadline_at_ms <= created_ms + most_ms


async def test_an_answer_of_a_longer_key_is_not_given_to_a_shorter_one(guarded: Guarded) -> None:
    gateway, asked = guarded.gateway, {"model": MODEL, "messages": SAID, "temperature": 0}
    free, bound = await guarded.key("acme"), await guarded.key("acme", bounds=Bounds(most_output_tokens=2))
    whole = await (await gateway.post(CHAT, asked, Authorization=free)).json()
    short = await gateway.post(CHAT, asked, Authorization=bound)
    assert (await short.json())["usage"]["completion_tokens"] == 2 < whole["usage"]["completion_tokens"]
    assert short.headers["x-ig3-cache"] == "miss"


async def test_what_an_account_may_have_holds_beside_what_its_key_may(guarded: Guarded) -> None:
    async with serve_http(guarded.mesh.bus, auth="required", most_output_tokens_of=("acme=3",)) as gateway:
        await gateway.until_served()
        key = await guarded.key("acme", bounds=Bounds(most_output_tokens=4))
        other = await guarded.key("beta", bounds=Bounds(most_output_tokens=4))
        lengths: list[int] = []
        for each in (key, other):
            answer = await gateway.post(CHAT, {"model": MODEL, "messages": SAID}, Authorization=each)
            lengths.append((await answer.json())["usage"]["completion_tokens"])
        assert lengths == [3, 4]


async def test_a_batch_holds_a_key_to_the_same(guarded: Guarded) -> None:
    models, short = (
        await guarded.key("acme", models=("another",)),
        await guarded.key("acme", tools=("weather",), bounds=Bounds(most_output_tokens=4)),
    )
    body: dict[str, Any] = {"model": MODEL, "messages": SAID}
    lines = {
        "long": line("long", body={**body, "max_tokens": 5}),
        "shell": line("shell", body={**body, "tools": [TOOLS[CHAT]]}),
        "open": line("open", body=body),
    }

    async def run(key: str, *names: str) -> tuple[str, list[str | None], str | None]:
        url, bare = f"{guarded.gateway.url}/v1", key.removeprefix("Bearer ")
        async with openai.AsyncOpenAI(base_url=url, api_key=bare, max_retries=0) as client:
            data = b"\n".join(json.dumps(lines[name]).encode() for name in names)
            file = await client.files.create(file=("in.jsonl", data), purpose="batch")
            made = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
            batch = await ended(client, made)
            codes = [] if batch.errors is None else [error.code for error in batch.errors.data or ()]
            output = batch.output_file_id
            return batch.status, codes, None if output is None else (await client.files.content(output)).text

    assert (await run(models, "open"))[:2] == ("failed", ["model_not_allowed"])
    assert (await run(short, "long", "shell", "open"))[:2] == ("failed", ["invalid_value", "tool_not_allowed"])
    status, _, output = await run(short, "open")
    assert status == "completed"
    assert output is not None
    assert json.loads(output)["response"]["body"]["usage"]["completion_tokens"] == 4


async def test_grpc_holds_a_key_to_the_same(guarded: Guarded) -> None:
    bounds = Bounds(most_output_tokens=4, most_seconds=20)
    models, tools, short = (
        await guarded.key("acme", models=("another",)),
        await guarded.key("acme", tools=("weather",)),
        await guarded.key("acme", bounds=bounds),
    )
    offered = pb.Tools(functions=[pb.Function(name="shell")])
    refused = [
        (models, question(), "model_not_allowed"),
        (tools, question(tools=offered), "tool_not_allowed"),
        (short, question(sampling=pb.Sampling(max_tokens=5)), "invalid_value"),
        (short, question(sampling=pb.Sampling(max_tokens=4), deadline_ms=20_001), "invalid_value"),
    ]
    # The last test of the module: when this server stops, so does the gateway.
    async with serve_rpc(guarded.gateway) as server:
        for key, request, code in refused:
            async with calling(server, authorization=key) as client:
                with pytest.raises(AioRpcError) as error:
                    await client.call("Submit", request, pb.SubmitReply)
            assert refusal(error.value)[1]["ig3-code"] == code
        async with calling(server, authorization=short) as client:
            await client.call("Submit", question(sampling=pb.Sampling()), pb.SubmitReply)
    task = await submitted(guarded.mesh)
    assert task.sampling == Sampling(max_tokens=4)
