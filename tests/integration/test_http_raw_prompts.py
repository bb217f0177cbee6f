"""Raw prompts through the gateway to the small model: what comes is what the engine writes behind the tokens alone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import openai
import pytest
import pytest_asyncio

from nodes.engine import DEFAULT_MODEL, Engine, EngineSpec, Generate
from nodes.engines import open_engine
from nodes.engines.llama.xllamacpp import XllamacppEngine
from streams.tasks.chat import Sampling
from tests.http_gateway import LIMIT_S, HttpGateway, serve_http
from tests.mesh_in_process import InProcessMesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPT = "The capital of France is"
OTHER = "Once upon a time there was"
TOKENS = 8
GREEDY: dict[str, Any] = {"model": DEFAULT_MODEL, "max_tokens": TOKENS, "temperature": 0}
OFF = {"x-ig3-cache": "off"}
DEAF = "deaf"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return open_engine(EngineSpec(context_tokens=256, slots=2))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> AsyncIterator[HttpGateway]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh") / "data") as mesh:
        await mesh.add_dispatcher()
        await mesh.add_node("real", interval_s=5, engine=engine)
        deaf = EngineSpec(engine="synthetic", model_id=DEAF, without=("raw_prompt",))
        await mesh.add_node("deaf", interval_s=5, spec=deaf)
        # A cache that is slow because this machine is shall not be gone by.
        async with serve_http(mesh.bus, cache_patience=timedelta(seconds=LIMIT_S)) as serving:
            await serving.until_served(DEFAULT_MODEL)
            await serving.until_served(DEAF)
            yield serving


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(gateway: HttpGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as made:
        yield made


async def written_by(engine: Engine, prompt: str) -> str:
    """What the engine itself writes, past the mesh."""
    assert isinstance(engine, XllamacppEngine)
    request = Generate(prompt=prompt, sampling=Sampling(max_tokens=TOKENS, temperature=0))
    return "".join([piece.text async for piece in engine.generate(request)])


async def test_a_completion_is_what_the_engine_writes_behind_the_prompt_and_no_chat(
    client: openai.AsyncOpenAI, engine: Engine
) -> None:
    plain = await client.completions.create(**GREEDY, prompt=PROMPT, extra_headers=OFF)
    assert plain.choices[0].text == await written_by(engine, PROMPT)
    # The tokens of these words, and of nothing around them.
    assert plain.usage is not None
    assert plain.usage.prompt_tokens == len(PROMPT.split())
    chat = await client.chat.completions.create(
        **GREEDY, messages=[{"role": "user", "content": PROMPT}], extra_headers=OFF
    )
    assert chat.choices[0].message.content != plain.choices[0].text
    assert chat.usage is not None
    assert chat.usage.prompt_tokens > plain.usage.prompt_tokens
    stream = await client.completions.create(**GREEDY, prompt=PROMPT, stream=True, echo=True, extra_headers=OFF)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == PROMPT + plain.choices[0].text


async def test_each_of_several_prompts_is_gone_on_with(client: openai.AsyncOpenAI, engine: Engine) -> None:
    plain = await client.completions.create(**GREEDY, prompt=[PROMPT, OTHER])
    assert [choice.text for choice in plain.choices] == [await written_by(engine, text) for text in (PROMPT, OTHER)]


async def test_the_cache_keeps_a_completion_and_a_chat_apart(client: openai.AsyncOpenAI) -> None:
    asked = {**GREEDY, "max_tokens": 3}

    async def said() -> str | None:
        messages: Any = [{"role": "user", "content": OTHER}]
        chat = await client.chat.completions.with_raw_response.create(**asked, messages=messages)
        return chat.headers.get("x-ig3-cache")

    async def written() -> str | None:
        raw = await client.completions.with_raw_response.create(**asked, prompt=OTHER)
        return raw.headers.get("x-ig3-cache")

    for answered in (said, written):
        assert await answered() == "miss"
        # It is stored behind the client's back.
        async with asyncio.timeout(LIMIT_S):
            while await answered() != "hit":
                pass


@pytest.mark.parametrize("stream", [False, True])
async def test_where_no_node_takes_a_raw_prompt_it_is_refused_by_name(client: openai.AsyncOpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError, match="as it stands") as refused:
        await client.completions.create(model=DEAF, prompt=PROMPT, stream=stream)
    assert (refused.value.param, refused.value.code) == ("prompt", "unsupported_value")
