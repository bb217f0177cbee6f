"""``POST /v1/embeddings`` on a real mesh: OpenAI's objects and errors, and OpenAI's own client."""

import base64
import struct
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from streams.tasks.task_id import new_task_id
from tests.http_gateway import HttpGateway, serve_http
from tests.mesh_in_process import InProcessMesh
from tests.number_engine import DIMENSIONS, LONGEST, MODEL, NumberEngine, vector_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HttpGateway]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh")) as mesh:
        await mesh.add_dispatcher()
        await mesh.add_node("n1", engine=NumberEngine(shortens=True), interval_s=5)
        await mesh.add_node("n2", interval_s=5)
        async with serve_http(mesh.bus) as serving:
            await serving.until_served()
            await serving.until_served(MODEL)
            yield serving


@pytest_asyncio.fixture(loop_scope="module")
async def client(gateway: HttpGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as connected:
        yield connected


async def posted(gateway: HttpGateway, body: Any, **headers: str) -> tuple[int, Any, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}/v1/embeddings", json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json(), answer.headers


def numbers(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    return list(struct.unpack(f"<{DIMENSIONS}f", vector_of(text))[:dimensions])


async def test_the_object_is_openai_s(gateway: HttpGateway) -> None:
    status, body, headers = await posted(gateway, {"model": MODEL, "input": ["one", "three"], "user": "u", "new": 1})
    assert status == 200
    assert body == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": numbers("one")},
            {"object": "embedding", "index": 1, "embedding": numbers("three")},
        ],
        "model": MODEL,
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }
    assert headers["x-ig3-task"]
    assert headers["x-request-id"]
    assert headers["openai-processing-ms"]


async def test_one_text_and_base64(gateway: HttpGateway) -> None:
    _, body, _ = await posted(gateway, {"model": MODEL, "input": "one", "encoding_format": "base64"})
    assert [base64.b64decode(item["embedding"]) for item in body["data"]] == [vector_of("one")]


async def test_openai_s_client(client: openai.AsyncOpenAI) -> None:
    texts = [f"passage {number}" for number in range(50)]
    found = await client.embeddings.create(model=MODEL, input=texts)
    assert [item.embedding for item in found.data] == [numbers(text) for text in texts]
    assert [item.index for item in found.data] == list(range(50))
    assert found.usage.total_tokens == sum(map(len, texts))
    as_numbers = await client.embeddings.create(model=MODEL, input="one", encoding_format="float")
    assert as_numbers.data[0].embedding == numbers("one")
    cut = await client.embeddings.create(model=MODEL, input="one", dimensions=4)
    whole = numbers("one", 4)
    length = sum(number**2 for number in whole) ** 0.5
    assert cut.data[0].embedding == pytest.approx([number / length for number in whole], abs=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"model": MODEL}, 400, "missing_required_parameter", "input"),
        ({"input": "a"}, 400, "missing_required_parameter", "model"),
        ({"model": MODEL, "input": []}, 400, "invalid_value", "input"),
        ({"model": MODEL, "input": ""}, 400, "invalid_value", "input"),
        ({"model": MODEL, "input": ["a", ""]}, 400, "invalid_value", "input"),
        ({"model": MODEL, "input": ["a", None]}, 400, "invalid_type", "input"),
        ({"model": MODEL, "input": {"a": 1}}, 400, "invalid_type", "input"),
        ({"model": MODEL, "input": [1, 2, 3]}, 400, "invalid_type", "input"),
        ({"model": MODEL, "input": [[1, 2], [3]]}, 400, "invalid_type", "input"),
        ({"model": MODEL, "input": ["a"] * 2049}, 400, "invalid_value", "input"),
        ({"model": MODEL, "input": "a", "encoding_format": "int8"}, 400, "invalid_value", "encoding_format"),
        ({"model": MODEL, "input": "a", "dimensions": 0}, 400, "invalid_value", "dimensions"),
        ({"model": MODEL, "input": "a", "dimensions": 9}, 400, "unsupported_value", "dimensions"),
        ({"model": MODEL, "input": "x" * (LONGEST + 1)}, 400, "context_length_exceeded", "input"),
        ({"model": MODEL, "input": ["x" * 600] * 1000}, 413, "request_too_large", None),
        ({"model": "nope", "input": "a"}, 404, "model_not_found", "model"),
        ({"model": "synthetic", "input": "a"}, 400, "unsupported_model", "model"),
    ],
)
async def test_errors_are_openai_s(gateway: HttpGateway, body: Any, status: int, code: str, param: str | None) -> None:
    found, answer, _ = await posted(gateway, body)
    assert (found, answer["error"]["code"], answer["error"]["param"]) == (status, code, param)


async def test_words_of_an_embedding_model_are_refused(client: openai.AsyncOpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="/v1/embeddings") as caught:
            await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=stream
            )
        assert (caught.value.code, caught.value.param) == ("unsupported_model", "model")


async def test_a_repeat_by_key_or_id_is_the_same_task(gateway: HttpGateway) -> None:
    body, task = {"model": MODEL, "input": ["again"]}, new_task_id()
    first = await posted(gateway, body, **{"Idempotency-Key": "k1"})
    again = await posted(gateway, body, **{"Idempotency-Key": "k1"})
    assert (first[1], first[2]["x-ig3-task"]) == (again[1], again[2]["x-ig3-task"])
    mine = await posted(gateway, body, **{"x-ig3-task": task})
    assert mine[2]["x-ig3-task"] == task
    status, answer, _ = await posted(gateway, {"model": MODEL, "input": ["a", "b"]}, **{"x-ig3-task": task})
    assert (status, answer["error"]["param"]) == (400, "x-ig3-task")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_that_names_a_task_of_vectors_is_told_so(gateway: HttpGateway, stream: bool) -> None:
    _, _, headers = await posted(gateway, {"model": MODEL, "input": ["one"]})
    chat = {"model": "synthetic", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    async with (
        aiohttp.ClientSession(headers={"x-ig3-task": headers["x-ig3-task"]}) as session,
        session.post(f"{gateway.url}/v1/chat/completions", json=chat) as answer,
    ):
        assert answer.status == 400
        error = (await answer.json())["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "x-ig3-task")
    assert "was another one: it makes vectors" in error["message"]


async def test_vectors_go_past_the_cache_of_answers(gateway: HttpGateway) -> None:
    body = {"model": MODEL, "input": ["kept"]}
    first, again = [await posted(gateway, body, **{"x-ig3-cache": "use"}) for _ in range(2)]
    assert (again[0], again[1]) == (200, first[1])
    assert again[2]["x-ig3-task"] != first[2]["x-ig3-task"]


async def test_the_task_can_be_looked_at(gateway: HttpGateway) -> None:
    _, _, headers = await posted(gateway, {"model": MODEL, "input": ["one", "two"]})
    task = headers["x-ig3-task"]
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{gateway.url}/v1/tasks/{task}") as answer:
            summary = await answer.json()
        async with session.get(f"{gateway.url}/v1/tasks/{task}/events") as answer:
            events = await answer.text()
        async with session.get(f"{gateway.url}/v1/models/{MODEL}") as answer:
            model = await answer.json()
    assert (summary["outcome"], summary["chars"], summary["usage"]["prompt_tokens"]) == ("completed", 2, 6)
    assert base64.b64encode(vector_of("one") + vector_of("two")).decode() in events
    assert model["kind"] == "embedding"
