"""OpenAI's own Python client against the gateway: what it sends is served, what it gets back is what it expects."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.http_gateway import LIMIT_S, MODEL, HttpGateway, serve_http
from tests.mesh_in_process import InProcessMesh

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HttpGateway]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh") / "data") as mesh:
        await mesh.add_dispatcher()
        await mesh.add_node(interval_s=5)
        # A cache that is slow because this machine is shall not be gone by.
        async with serve_http(mesh.bus, cache_patience=timedelta(seconds=LIMIT_S)) as serving:
            await serving.until_served()
            yield serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(gateway: HttpGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as connected:
        yield connected


async def test_a_plain_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hello"}], max_tokens=7
    )
    choice = answer.choices[0]
    assert len((choice.message.content or "").split()) == 7
    assert (choice.message.role, choice.finish_reason, choice.index) == ("assistant", "length", 0)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (1, 7, 8)
    assert answer.id.startswith("chatcmpl-")
    assert answer._request_id is not None


async def test_a_stream_says_the_same_as_the_plain_answer(client: openai.AsyncOpenAI) -> None:
    plain = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == plain.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_clients_stream_helper_puts_the_answer_together(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model=MODEL, messages=[{"role": "user", "content": "hello"}]) as stream:
        whole = await stream.get_final_completion()
    assert len((whole.choices[0].message.content or "").split()) == 50


async def test_models(client: openai.AsyncOpenAI) -> None:
    listed = [model async for model in client.models.list()]
    assert [(model.id, model.owned_by) for model in listed] == [(MODEL, "ig3")]
    assert (await client.models.retrieve(MODEL)).id == MODEL


async def test_an_unknown_model_is_the_clients_not_found_error(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "hello"}])
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id is not None


async def test_a_bad_request_is_an_error_in_a_stream_too(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model=MODEL, messages=[], stream=True)
    assert caught.value.param == "messages"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_does_not_fit_is_a_bad_request(client: openai.AsyncOpenAI, stream: bool) -> None:
    long = "word " * 5000
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": long}], stream=stream)
    assert caught.value.code == "context_length_exceeded"


async def test_the_older_completions_whole_streamed_and_with_logprobs(client: openai.AsyncOpenAI) -> None:
    plain = await client.completions.create(model=MODEL, prompt="hello", max_tokens=7, logprobs=2)
    (choice,) = plain.choices
    assert (len(choice.text.split()), choice.finish_reason) == (7, "length")
    assert choice.logprobs is not None
    assert "".join(choice.logprobs.tokens or []) == choice.text
    assert plain.usage is not None
    assert plain.usage.completion_tokens == 7
    stream = await client.completions.create(
        model=MODEL, prompt=["hello"], max_tokens=7, logprobs=2, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == choice.text
    offsets = [
        at
        for chunk in chunks
        for one in chunk.choices
        if one.logprobs is not None
        for at in one.logprobs.text_offset or []
    ]
    assert offsets == choice.logprobs.text_offset
    assert (chunks[-1].usage, chunks[-2].choices[0].finish_reason) == (plain.usage, "length")
    echoed = await client.completions.create(model=MODEL, prompt="hello", max_tokens=7, echo=True, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in echoed]) == f"hello{choice.text}"
    usual = await client.completions.create(model=MODEL, prompt="hello")
    assert usual.usage is not None
    assert usual.usage.completion_tokens == 16


async def test_each_of_several_prompts_has_its_choices_side_by_side(client: openai.AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"model": MODEL, "prompt": ["one", "two"], "n": 2, "max_tokens": 3, "echo": True, "seed": 4}
    plain = await client.completions.create(**asked)
    assert [choice.index for choice in plain.choices] == [0, 1, 2, 3]
    assert [choice.text[:3] for choice in plain.choices] == ["one", "one", "two", "two"]
    assert plain.usage is not None
    assert (plain.usage.prompt_tokens, plain.usage.completion_tokens) == (4, 12)
    stream = await client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    texts, usages = [""] * 4, []
    async for chunk in stream:
        usages.append(chunk.usage)
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in plain.choices]
    assert usages == [None] * (len(usages) - 1) + [plain.usage]


async def test_a_completion_comes_from_the_cache_as_a_chat_does(client: openai.AsyncOpenAI) -> None:
    texts: set[str] = set()

    async def head_of(prompt: str | list[str]) -> str | None:
        raw = await client.completions.with_raw_response.create(model=MODEL, prompt=prompt, max_tokens=3, temperature=0)
        texts.update(choice.text for choice in raw.parse().choices)
        return raw.headers.get("x-ig3-cache")

    assert await head_of("again") == "miss"
    # The answer is stored behind the client's back.
    async with asyncio.timeout(LIMIT_S):
        while (head := await head_of(["again"])) == "miss":
            pass
    assert (head, await head_of(["again", "again"]), len(texts)) == ("hit", "bypass", 1)


async def test_what_the_older_api_cannot_do_here_is_refused_by_name(client: openai.AsyncOpenAI) -> None:
    cases: list[tuple[Any, str]] = [
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": [[1, 2], [3]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt"),
        ({"prompt": ["a"] * 33, "n": 2}, "prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "echo": True, "logprobs": 1}, "logprobs"),
        ({"prompt": "a", "logprobs": 6}, "logprobs"),
    ]
    for asked, param in cases:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.completions.create(model=MODEL, **asked)
        assert refused.value.param == param
