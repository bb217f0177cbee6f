"""Models of providers outside, by LiteLLM, against loopback servers in the providers' formats."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession
from msgspec.structs import replace

from nodes.engine import EngineSpec, Generate, RemoteSpec
from nodes.engines import every_model, open_engine
from nodes.engines.cloud import standing
from nodes.errors import EngineBusy, EngineError, EngineUnavailable, RequestRefused
from streams.devices.replica import Price
from streams.tasks.answer_parts import joined_calls
from streams.tasks.chat import Message, Sampling
from streams.tasks.tools import Function, OutputFormat, Tools
from tests.contract.waiting import eventually
from tests.played_chat_server import PlayedChatServer
from tests.played_providers import PROMPT_TOKENS, PlayedProviders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nodes.engine import Engine, Piece
    from streams.devices.replica import Replica

pytestmark = [
    pytest.mark.timeout(180),
    # LiteLLM's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
]

PROVIDERS = {
    "openai": ("openai/gpt-5-mini", "/openai/v1"),
    "anthropic": ("anthropic/claude-sonnet-4-5", "/anthropic"),
    "gemini": ("gemini/gemini-2.5-flash", "/gemini"),
    "mistral": ("mistral/mistral-small-latest", "/mistral/v1"),
}
KEY = "very-secret-key-of"
LONG_REST_S = 600.0
"""Of a provider that has failed: longer than a test takes on any machine."""


def entry(server: PlayedProviders, folder: Path, name: str, **fields: Any) -> dict[str, Any]:
    """A provider as ``cloud.yaml`` lists it, with a key of its own."""
    key = folder / f"{name}.key"
    key.touch(mode=0o600)
    key.write_text(f"{KEY}-{name}\n")
    model, path = PROVIDERS[name]
    return {"model": model, "url": server.url + path, "key_file": str(key), **fields}


def written(folder: Path, *models: dict[str, Any]) -> Path:
    file = folder / "cloud.yaml"
    file.write_text(json.dumps({"models": models}))  # JSON is YAML
    return file


@asynccontextmanager
async def started(file: Path, model: str = "big", **remote: Any) -> AsyncIterator[tuple[Engine, Replica]]:
    spec = EngineSpec(engine="litellm", model=model, cloud_config=file, remote=RemoteSpec(**remote))
    engine = open_engine(spec)
    try:
        yield engine, await engine.start()
    finally:
        await engine.stop()


async def answer(engine: Engine, *, tokens: int = 5) -> list[Piece]:
    asked = (Message(role="system", content="Be brief."), Message(role="user", content="hello"))
    return [p async for p in engine.generate(Generate(messages=asked, sampling=Sampling(max_tokens=tokens)))]


@pytest.mark.parametrize("name", PROVIDERS)
async def test_each_format_gives_an_answer_its_counts_and_an_end(name: str, tmp_path: Path) -> None:
    async with PlayedProviders().running() as server:
        file = written(tmp_path, {"id": "big", "providers": [entry(server, tmp_path, name)], "probe": False})
        async with started(file) as (engine, replica):
            pieces = await answer(engine)
            assert "".join(piece.text for piece in pieces) == "lorem ipsum dolor sit amet "
            usage = pieces[-1].usage
            assert usage is not None
            assert (usage.prompt_tokens, usage.completion_tokens) == (PROMPT_TOKENS, 5)
            assert sum(piece.tokens for piece in pieces) == 5
            assert pieces[-1].finish_reason == "length"
            assert [(who, key) for who, key, _ in server.asked] == [(name, f"{KEY}-{name}")]
            # From LiteLLM's own list, which comes with it.
            assert replica.context_tokens > 10_000
            assert replica.price is not None
            assert replica.price.completion_micro > replica.price.prompt_micro > 0
            server.endless = True
            async with aclosing(engine.generate(_endless())) as pieces_on_their_way:
                await anext(pieces_on_their_way)
                assert server.writing == 1
            await eventually(lambda: server.writing == 0)
            assert engine.load().running == 0
        assert open_sessions() == []


def open_sessions() -> list[ClientSession]:
    """What of the library's is still connected in this test."""
    loop = asyncio.get_running_loop()
    sessions = [found for found in gc.get_objects() if type(found) is ClientSession]
    return [session for session in sessions if session._loop is loop and not session.closed]


async def test_stopping_ends_an_answer_that_is_waited_for(tmp_path: Path) -> None:
    async with PlayedProviders(endless=True).running() as server:
        file = written(tmp_path, {"id": "big", "providers": [entry(server, tmp_path, "openai")], "probe": False})
        async with started(file) as (engine, _):
            asking = asyncio.create_task(answer(engine))
            await eventually(lambda: server.writing == 1)
            await engine.stop()
            with pytest.raises(EngineUnavailable, match="stopped"):
                await asking
            assert engine.load().running == 0


def _endless() -> Generate:
    return Generate(messages=(Message(role="user", content="hello"),), sampling=Sampling(max_tokens=1000))


async def test_a_replica_says_the_tier_the_region_and_the_highest_price(tmp_path: Path) -> None:
    async with PlayedProviders().running() as server:
        cheap = entry(server, tmp_path, "openai", region="eu", price={"prompt": 0.5, "completion": 4.5})
        dear = entry(server, tmp_path, "mistral", region="eu", price={"prompt": 2, "completion": 3, "cached_prompt": 1})
        far = {**dear, "region": "us"}
        models = (
            {"id": "big", "providers": [cheap, dear], "context_tokens": 9000, "slots": 3, "probe": False},
            {"id": "anywhere", "providers": [cheap, far], "context_tokens": 9000, "probe": False},
        )
        file = written(tmp_path, *models)
        async with started(file) as (_, replica):
            assert (replica.model, replica.tier, replica.region, replica.slots) == ("big", "cloud", "eu", 3)
            assert (replica.context_tokens, replica.continues) == (9000, False)
            highest = Price(prompt_micro=2_000_000, completion_micro=4_500_000, cached_prompt_micro=1_000_000)
            assert replica.price == highest
        async with started(file, "anywhere") as (_, replica):
            assert replica.region is None
        assert [spec.model for spec in every_model(EngineSpec(engine="litellm", cloud_config=file))] == [
            "big",
            "anywhere",
        ]


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_where_one_provider_cannot_the_next_is_asked_and_keys_are_shown_nowhere(
    status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(standing, "_REST_S", LONG_REST_S)
    async with PlayedProviders().running() as server:
        entries = [entry(server, tmp_path, name) for name in PROVIDERS]
        file = written(tmp_path, {"id": "big", "providers": entries, "probe": False})
        async with started(file) as (engine, replica):
            server.status = dict.fromkeys(("openai", "anthropic", "gemini"), status)
            assert (await answer(engine))[-1].finish_reason == "length"
            assert [who for who, _, _ in server.asked] == list(PROVIDERS)
            # Those that failed rest: the next answer comes from the one that did not.
            await answer(engine)
            assert server.asked[-1][0] == "mistral"
            assert len(server.asked) == 5
            server.status["mistral"] = status
            with pytest.raises(EngineError) as failed:
                await answer(engine)
            assert not isinstance(failed.value, RequestRefused)
            assert isinstance(failed.value, EngineBusy) == (status in (429, 503))
            assert (engine.load().away is not None) == (status in (401, 404))
            assert engine.load().running == 0
            shown = [repr(replica), repr(vars(engine)), str(failed.value), repr(failed.value), caplog.text]
    assert not any(KEY in text for text in shown)
    assert "openai/gpt-5-mini cannot answer" in caplog.text


async def test_an_answer_that_has_begun_is_left_to_the_mesh_and_a_bad_request_is_refused(tmp_path: Path) -> None:
    async with PlayedProviders().running() as server:
        entries = [entry(server, tmp_path, name) for name in PROVIDERS]
        file = written(tmp_path, {"id": "big", "providers": entries, "probe": False})
        async with started(file) as (engine, _):
            server.cut = {"openai"}
            with pytest.raises(EngineError) as failed:
                await answer(engine)
            assert not isinstance(failed.value, RequestRefused)
            server.cut = set()
            server.status = {"anthropic": 400}
            with pytest.raises(RequestRefused):
                await answer(engine)
            assert [who for who, _, _ in server.asked] == ["openai", "anthropic"]


async def test_at_the_start_each_provider_is_tried(tmp_path: Path) -> None:
    async with PlayedProviders(status={"openai": 401}).running() as server:
        entries = [entry(server, tmp_path, name) for name in ("openai", "mistral")]
        file = written(tmp_path, {"id": "big", "providers": entries})
        async with started(file) as (_, replica):
            # The played ones begin anew, whatever they are sent.
            assert not replica.continues
            assert replica.tokens_per_s is not None
        server.status["mistral"] = 401
        with pytest.raises(EngineUnavailable, match=r"no provider of 'big' answers, .* refuses the API key"):
            async with started(file):
                pass


BAD_FILES = [
    ("models: [", "is no YAML"),
    ("models: []", "length >= 1"),
    ("models: [{id: a, providers: [{model: x, api_key: sk-123}]}]", "keys are named by key_file or key_variable"),
    ("models: [{id: a, providers: [{model: x}]}, {id: a, providers: [{model: y}]}]", "has the model 'a' twice"),
    ("models: [{id: b, providers: [{model: x}]}]", "no chat model 'a': it has b"),
    ("models: [{id: a, providers: [{model: x, key_file: /none}]}]", "/none does not exist"),
]


@pytest.mark.parametrize(("text", "reason"), BAD_FILES)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason_and_no_secret(
    text: str, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "cloud.yaml"
    file.write_text(text)
    with pytest.raises(EngineUnavailable) as refused:
        open_engine(EngineSpec(engine="litellm", model="a", cloud_config=file))
    assert reason in str(refused.value)
    assert "sk-123" not in str(refused.value)


async def test_without_a_file_or_the_context_of_a_model_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="--cloud-config"):
        every_model(EngineSpec(engine="litellm"))
    file = written(tmp_path, {"id": "big", "providers": [{"model": "openai/nobody-knows-this"}]})
    with pytest.raises(EngineUnavailable, match="write its context_tokens"):
        async with started(file):
            pass


@pytest.mark.parametrize("name", ["openai", "anthropic"])
async def test_a_kept_connection_that_is_cut_is_asked_once_more_and_no_oftener(name: str, tmp_path: Path) -> None:
    async with PlayedProviders().running() as server:
        file = written(tmp_path, {"id": "big", "providers": [entry(server, tmp_path, name)], "probe": False})
        async with started(file) as (engine, _):
            await answer(engine)  # from here on there is a connection to keep
            server.hangs_up[name] = 1
            assert "".join(piece.text for piece in await answer(engine)) == "lorem ipsum dolor sit amet "
            assert len(server.asked) == 1 + 2
            server.hangs_up[name] = 3
            with pytest.raises(EngineError):
                await answer(engine)
            assert (len(server.asked), server.hangs_up[name]) == (1 + 2 + 2, 1)


# --- beyond text -------------------------------------------------------------------------------------------------


def played(server: PlayedChatServer) -> dict[str, Any]:
    return {"model": "openai/played", "url": f"{server.url}/v1"}


async def test_a_model_can_do_what_all_its_providers_have_shown(tmp_path: Path) -> None:
    first = PlayedChatServer(able=frozenset({"tools", "schema", "logprobs"}))
    second = PlayedChatServer(able=frozenset({"tools", "logprobs", "vision"}))
    async with first.running(), second.running():
        providers = [played(first), played(second)]
        file = written(tmp_path, {"id": "big", "context_tokens": 999, "providers": providers})
        async with started(file) as (engine, replica):
            assert replica.abilities == ("tools", "logprobs")
            tools = Tools(functions=(Function(name="look"),), choice="required")
            asked = (Message(role="user", content="hello"),)
            pieces = [p async for p in engine.generate(Generate(messages=asked, tools=tools))]
            [call] = joined_calls(call for piece in pieces for call in piece.tool_calls)
            assert (call.name, call.arguments, call.id) == ("look", '{"word": "sea"}', "call_look")
            assert pieces[-1].finish_reason == "tool_calls"
            sampling = Sampling(max_tokens=2, top_logprobs=1)
            pieces = [p async for p in engine.generate(Generate(messages=asked, sampling=sampling))]
            assert [len(place.top) for piece in pieces for place in piece.logprobs] == [1, 1]
            with pytest.raises(RequestRefused, match="response_format"):
                await anext(engine.generate(Generate(messages=asked, format=OutputFormat(kind="json_object"))))


async def test_a_provider_sees_placeholders_and_the_user_what_they_stand_for(tmp_path: Path) -> None:
    said = "Mail alice@example.org or call +49 30 901820, and alice@example.org again."
    async with PlayedProviders(echoes=True).running() as server:
        file = written(tmp_path, {"id": "big", "providers": [entry(server, tmp_path, "openai")], "probe": False})
        async with started(file) as (engine, _):
            asked = Generate(messages=(Message(role="user", content=said),), sampling=Sampling(max_tokens=100))
            pieces = [piece async for piece in engine.generate(asked)]
            assert "".join(piece.text for piece in pieces) == said
            assert pieces[-1].usage is not None
            assert sum(piece.tokens for piece in pieces) == pieces[-1].usage.completion_tokens
            (_, _, body) = server.asked[-1]
            assert body["messages"][-1]["content"] == "Mail <EMAIL_1> or call <PHONE_1>, and <EMAIL_1> again."
            for piece in [piece async for piece in engine.generate(replace(asked, redaction="off"))][:1]:
                assert piece.text == "Mai"
            assert server.asked[-1][2]["messages"][-1]["content"] == said
