"""What embedding engines make of servers that fail, refuse, hang or talk nonsense; and what they find out by asking."""

from __future__ import annotations

import asyncio
import json
import math
import struct
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from nodes.embedding import Embed, EmbeddingEngine, EmbeddingSpec
from nodes.engine import EngineSpec, RemoteSpec, VllmSpec
from nodes.engines import every_model
from nodes.engines.cloud import standing
from nodes.engines.embedding import open_embedding_engine
from nodes.engines.embedding.cloud import CloudEmbeddingEngine
from nodes.engines.embedding.openai import OpenAiEmbeddingEngine
from nodes.errors import EngineAway, EngineBusy, EngineError, EngineUnavailable, RequestRefused
from streams.devices.replica import Price
from tests.contract.waiting import eventually
from tests.played_embedding_server import DIMENSIONS, MODEL, Mode, PlayedEmbeddingServer, numbers
from tests.stand_in_vllm import installed_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nodes.embedding import EmbeddingEngineName
    from streams.devices.replica import Replica

pytestmark = [
    pytest.mark.timeout(180),
    # LiteLLM's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
]

BOTH: list[EmbeddingEngineName] = ["openai", "litellm"]
SERVED = "openai/text-embedding-3-small"
LONG = "x" * 100
"""More than the played server takes."""


def cloud_file(folder: Path, *servers: PlayedEmbeddingServer, **fields: Any) -> Path:
    providers = [{"model": SERVED, "url": f"{server.url}/v1"} for server in servers]
    file = folder / "cloud.yaml"
    file.write_text(json.dumps({"models": [{"id": MODEL, "kind": "embedding", "providers": providers, **fields}]}))
    return file


@asynccontextmanager
async def started(
    name: EmbeddingEngineName, folder: Path, *servers: PlayedEmbeddingServer, **remote: Any
) -> AsyncIterator[tuple[EmbeddingEngine, Replica]]:
    spec = EmbeddingSpec(engine=name, model=MODEL, remote=RemoteSpec(url=servers[0].url, **remote))
    if name == "litellm":
        spec = EmbeddingSpec(
            engine=name, model=MODEL, remote=RemoteSpec(**remote), cloud_config=cloud_file(folder, *servers)
        )
    engine = open_embedding_engine(spec)
    try:
        yield engine, await engine.start()
    finally:
        await engine.stop()


def expected(text: str) -> list[float]:
    vector = numbers(text)
    length = math.hypot(*vector)
    return [number / length for number in vector]


def read(vector: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(vector) // 4}f", vector))


async def check_serves(engine: EmbeddingEngine, *texts: str) -> None:
    embedded = await engine.embed(Embed(texts=texts or ("sea", "bread")))
    for text, vector in zip(texts or ("sea", "bread"), embedded.vectors, strict=True):
        assert read(vector) == pytest.approx(expected(text), abs=1e-6)


FAILURES: list[tuple[int, type[EngineError], str]] = [
    (429, EngineBusy, "takes no more for now"),
    (503, EngineBusy, "takes no more for now"),
    (500, EngineError, "failed"),
    (502, EngineAway, "behind the server"),
    (401, EngineAway, "wants a key"),
    (404, EngineAway, "does not serve this"),
    (400, RequestRefused, "text 0 is refused"),
]
NONSENSE: list[tuple[Mode, str]] = [
    ("too few", "1 vectors for 2 texts"),
    ("twice", "which vector is of which text"),
    ("zeros", "no vector: 8 numbers of length 0"),
    ("not a number", "cannot be read|no vector|JSON"),
    ("other size", "had 8 numbers before"),
    ("uneven", "different sizes"),
    ("page", "cannot be read|cannot be reached|failed"),
    ("garbage", "cannot be read|cannot be reached|failed"),
    ("cuts", "cut the connection|Connection error"),
]


@pytest.mark.parametrize("name", BOTH)
async def test_what_a_server_answers_instead_becomes_the_right_error(name: EmbeddingEngineName, tmp_path: Path) -> None:
    async with PlayedEmbeddingServer().running() as server, started(name, tmp_path, server) as (engine, replica):
        assert (replica.engine, replica.dimensions, replica.kind) == (name, DIMENSIONS, "embedding")
        for server.status, kind, reason in FAILURES:
            asked = len(server.asked)
            with pytest.raises(EngineError, match=reason) as failed:
                await engine.embed(Embed(texts=("sea",)))
            assert type(failed.value) is kind or (kind is EngineAway and isinstance(failed.value, EngineAway))
            assert len(server.asked) == asked + 1  # nobody asks again behind our back
        server.status = 200
        for server.mode, reason in NONSENSE:
            with pytest.raises(EngineError, match=reason) as failed:
                await engine.embed(Embed(texts=("sea", "bread")))
            assert not isinstance(failed.value, RequestRefused)
        server.mode = "fine"
        await check_serves(engine)
        assert engine.load().running == 0
    with pytest.raises(EngineUnavailable):
        await engine.embed(Embed(texts=("sea",)))


@pytest.mark.parametrize("name", BOTH)
async def test_a_server_that_is_gone_is_away(name: EmbeddingEngineName, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = PlayedEmbeddingServer()
        serving = await stack.enter_async_context(AsyncExitStack())
        await serving.enter_async_context(server.running())
        engine, _ = await stack.enter_async_context(started(name, tmp_path, server))
        await serving.aclose()
        with pytest.raises(EngineAway):
            await engine.embed(Embed(texts=("sea",)))
        await eventually(lambda: engine.load().away is not None)


@pytest.mark.parametrize("name", BOTH)
async def test_a_silent_server_is_not_waited_for_and_a_cancelled_request_leaves_it(
    name: EmbeddingEngineName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PlayedEmbeddingServer().running() as server, started(name, tmp_path, server) as (engine, _):
        server.mode = "mute"
        with monkeypatch.context() as impatient:
            # Only now: at the start this machine may be slow, and the server not to blame.
            assert isinstance(engine, OpenAiEmbeddingEngine | CloudEmbeddingEngine)
            asking = engine._server if isinstance(engine, OpenAiEmbeddingEngine) else engine._providers[0]
            impatient.setattr(asking, "_patience_s", 0.3)
            with pytest.raises(EngineError, match="says nothing"):
                await engine.embed(Embed(texts=("sea",)))
        await eventually(lambda: server.working == 0)
        waiting = asyncio.create_task(engine.embed(Embed(texts=("sea",))))
        await eventually(lambda: server.working == 1)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert engine.load().running == 0
        await eventually(lambda: server.working == 0)
        server.mode = "fine"
        await check_serves(engine)


@pytest.mark.parametrize("name", BOTH)
async def test_only_the_text_at_fault_is_refused_and_it_is_named(name: EmbeddingEngineName, tmp_path: Path) -> None:
    async with PlayedEmbeddingServer().running() as server, started(name, tmp_path, server) as (engine, _):
        with pytest.raises(RequestRefused, match=r"text 2 is refused: .*context") as refused:
            await engine.embed(Embed(texts=("a", "b", LONG, "c")))
        assert refused.value.code == "context_length_exceeded"
        texts = [f"number {number}" for number in range(70)]
        before = len(server.asked)
        server.mode = "backwards"
        await check_serves(engine, *texts)
        assert [len(body["input"]) for body in server.asked[before:]] == [32, 32, 6]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("mode", ["all alike", "never alike"])
async def test_vectors_that_mean_nothing_make_no_engine(name: EmbeddingEngineName, mode: Mode, tmp_path: Path) -> None:
    async with PlayedEmbeddingServer(mode=mode).running() as server:
        with pytest.raises(EngineUnavailable, match="vectors mean nothing"):
            async with started(name, tmp_path, server):
                pass


@pytest.mark.parametrize("takes_base64", [True, False])
async def test_base64_is_asked_for_where_it_is_taken(takes_base64: bool, tmp_path: Path) -> None:
    server = PlayedEmbeddingServer(takes_base64=takes_base64, counts=False)
    async with server.running(), started("openai", tmp_path, server) as (engine, replica):
        await check_serves(engine)
        assert server.asked[-1].get("encoding_format") == ("base64" if takes_base64 else None)
        assert replica.context_tokens == 512
        # Not counted there: four characters are a token.
        assert (await engine.embed(Embed(texts=("sea!", "bread")))).usage.prompt_tokens == 1 + 2
        if takes_base64:
            server.mode = "no base64"
            with pytest.raises(EngineError, match="no vector"):
                await engine.embed(Embed(texts=("sea",)))


async def test_a_server_that_answers_but_makes_no_vectors_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with PlayedEmbeddingServer(status=400, message="no embedding model").running() as server:
        with pytest.raises(EngineError, match="no embedding model"):
            async with started("openai", tmp_path, server):
                pass


async def test_a_server_that_goes_is_away_and_back_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.engines.remote.presence.EVERY_S", 0.05)
    async with PlayedEmbeddingServer().running() as server, started("openai", tmp_path, server) as (engine, _):
        server.models = [{"id": "another"}]
        await eventually(lambda: f"no model '{MODEL}' any more" in (engine.load().away or ""))
        server.models = [{"id": MODEL}]
        await eventually(lambda: engine.load().away is None)


async def test_the_next_provider_is_asked_where_one_fails_and_it_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than this takes on any machine.
    monkeypatch.setattr(standing, "_REST_S", 600.0)
    first, second = PlayedEmbeddingServer(), PlayedEmbeddingServer()
    async with first.running(), second.running(), started("litellm", tmp_path, first, second) as (engine, replica):
        assert (replica.tier, replica.context_tokens) == ("cloud", 8191)
        assert replica.price == Price(prompt_micro=20_000, completion_micro=0)
        first.status = 429
        await check_serves(engine)
        asked = len(first.asked)
        await check_serves(engine)
        assert len(first.asked) == asked
        # A text that one refuses as such is asked of no other.
        first.status, asked = 200, len(first.asked)
        with pytest.raises(RequestRefused, match="text 0"):
            await engine.embed(Embed(texts=(LONG,)))
        assert len(first.asked) == asked


async def test_a_kept_connection_that_is_cut_is_asked_once_more(tmp_path: Path) -> None:
    async with PlayedEmbeddingServer().running() as server, started("litellm", tmp_path, server) as (engine, _):
        asked, server.mode = len(server.asked), "cuts once"
        await check_serves(engine)
        assert len(server.asked) == asked + 2


async def test_a_provider_with_other_vectors_is_refused_whenever_it_shows(tmp_path: Path) -> None:
    first, other = PlayedEmbeddingServer(), PlayedEmbeddingServer(salt="another model")
    async with first.running(), other.running():
        with pytest.raises(EngineUnavailable, match="gives other vectors than those before it"):
            async with started("litellm", tmp_path, first, other):
                pass
        # One that is not there at the start is looked at before it is used.
        other.status = 503
        async with started("litellm", tmp_path, first, other) as (engine, _):
            other.status, first.status = 200, 500
            with pytest.raises(EngineError, match="gives other vectors"):
                await engine.embed(Embed(texts=("sea",)))
            assert "sea" not in other.texts


async def test_no_provider_at_all_makes_no_engine_and_the_reason_has_no_key(tmp_path: Path) -> None:
    async with PlayedEmbeddingServer(status=401, key="k" * 20).running() as server:
        with pytest.raises(EngineUnavailable, match=f"no provider of '{MODEL}' answers"):
            async with started("litellm", tmp_path, server):
                pass


def test_each_kind_of_model_in_the_cloud_file_is_for_its_own_engine(tmp_path: Path) -> None:
    providers = [{"model": SERVED}]
    models = [
        {"id": "words", "providers": providers},
        {"id": "one", "kind": "embedding", "providers": providers},
        {"id": "two", "kind": "embedding", "providers": providers},
    ]
    file = tmp_path / "cloud.yaml"
    file.write_text(json.dumps({"models": models}))
    with pytest.raises(EngineUnavailable, match="no embedding model 'words': it has one, two"):
        open_embedding_engine(EmbeddingSpec(engine="litellm", model="words", cloud_config=file))
    assert [each.model for each in every_model(EngineSpec(engine="litellm", cloud_config=file))] == ["words"]


async def test_vllm_is_started_with_its_runner_for_pooling_and_its_metrics_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.engines.remote.presence.EVERY_S", 0.05)
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 512, "dtype": "float32"}))
    spec = EmbeddingSpec(engine="vllm", model=str(tmp_path), vllm=VllmSpec(program=installed_in(tmp_path)))
    engine = open_embedding_engine(spec)
    try:
        replica = await engine.start()
        assert (replica.context_tokens, replica.quantisation, replica.slots) == (512, "float32", 8)
        arguments = (tmp_path / "arguments").read_text().split("\n")
        assert arguments[arguments.index("--runner") + 1] == "pooling"
        await eventually(lambda: engine.load().cache_used == 0.25)
    finally:
        await engine.stop()
