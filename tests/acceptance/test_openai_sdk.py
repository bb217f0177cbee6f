"""OpenAI's Python SDK against the real model: what an application written for OpenAI sees."""

import asyncio

import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from gateway.http.exchange import HOLD_S
from tests.http_gateway import until
from tests.running_mesh import SMALL_EMBEDDING_MODEL, SMALL_MODEL, RunningMesh

pytestmark = pytest.mark.timeout(240)

COUNTING: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Count from one to ten in words."}]


@pytest.fixture
def plain_sdk(smollm: RunningMesh) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{smollm.url}/v1", api_key="unused", max_retries=0)


def test_a_plain_answer(plain_sdk: openai.OpenAI) -> None:
    with plain_sdk:
        answer = plain_sdk.chat.completions.create(model=SMALL_MODEL, messages=COUNTING, temperature=0)
    choice = answer.choices[0]
    assert "10" in (choice.message.content or "")
    assert (choice.finish_reason, choice.message.role, answer.model) == ("stop", "assistant", SMALL_MODEL)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens > 20


def test_a_stream(plain_sdk: openai.OpenAI) -> None:
    with plain_sdk:
        chunks = list(
            plain_sdk.chat.completions.create(
                model=SMALL_MODEL,
                messages=COUNTING,
                temperature=0,
                max_tokens=12,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:-1]] == ["length"]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]).startswith("1.")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_plain_answer_without_blocking(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(model=SMALL_MODEL, messages=COUNTING, temperature=0, max_tokens=8)
    assert answer.usage is not None
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 8)


async def streamed(sdk: openai.AsyncOpenAI) -> list[ChatCompletionChunk]:
    """The chunks of an answer that came as it was written; behind a stall much of it comes at once."""
    while True:
        stream = await sdk.chat.completions.create(
            model=SMALL_MODEL,
            messages=COUNTING,
            temperature=0,
            stop=["5."],
            stream=True,
            extra_headers={"x-ig3-cache": "off"},
        )
        chunks = [chunk async for chunk in stream]
        if len(chunks) > 4:
            return chunks


async def test_a_stream_without_blocking(sdk: openai.AsyncOpenAI) -> None:
    chunks = await streamed(sdk)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.startswith("1.")
    assert "4." in text
    assert "5." not in text
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_longer_question_has_more_prompt_tokens(sdk: openai.AsyncOpenAI) -> None:
    async def prompt_tokens(words: int) -> int:
        answer = await sdk.chat.completions.create(
            model=SMALL_MODEL, messages=[{"role": "user", "content": "hello " * words}], max_tokens=1
        )
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    assert await prompt_tokens(41) - await prompt_tokens(1) == 40


async def test_every_answer_names_its_request_and_its_task(sdk: openai.AsyncOpenAI) -> None:
    raw = await sdk.chat.completions.with_raw_response.create(
        model=SMALL_MODEL, messages=COUNTING, max_tokens=1, extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == "mine-1"
    answer = raw.parse()
    assert answer.id == f"chatcmpl-{raw.headers['x-ig3-task']}"
    assert (
        (await sdk.chat.completions.with_raw_response.create(model=SMALL_MODEL, messages=COUNTING, max_tokens=1))
        .headers["x-request-id"]
        .startswith("req_")
    )


async def test_the_model_is_listed(sdk: openai.AsyncOpenAI) -> None:
    async def is_listed() -> bool:
        return [model.id async for model in sdk.models.list()] == [SMALL_EMBEDDING_MODEL, SMALL_MODEL]

    # A node that has just been silent for long comes back to the list with its next report.
    await until(is_listed)
    model = await sdk.models.retrieve(SMALL_MODEL)
    assert (model.object, model.owned_by) == ("model", "ig3")


async def test_an_unknown_model_is_not_found(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.chat.completions.create(model="gpt-9", messages=COUNTING)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("gpt-9")


async def test_no_messages_are_a_bad_request(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(model=SMALL_MODEL, messages=[])
    assert caught.value.param == "messages"


async def ask_too_much(sdk: openai.AsyncOpenAI, *, stream: bool) -> None:
    """Ask until it is refused before the answer begins: a stream may begin once it was waited for for long enough."""
    now_s = asyncio.get_running_loop().time
    while True:
        begun_s = now_s()
        late = await sdk.chat.completions.create(
            model=SMALL_MODEL, messages=[{"role": "user", "content": "word " * 5000}], stream=stream
        )
        assert isinstance(late, openai.AsyncStream)
        assert now_s() - begun_s >= HOLD_S
        await late.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_too_long_a_conversation_is_a_bad_request(sdk: openai.AsyncOpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await ask_too_much(sdk, stream=stream)
    assert caught.value.code == "context_length_exceeded"
