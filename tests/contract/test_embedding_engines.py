"""What every engine that turns texts into vectors does alike. A new one is one more spec; nothing else here changes."""

from __future__ import annotations

import asyncio
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
import pytest_asyncio
from msgspec import Struct
from msgspec.structs import replace

from nodes.embedding import MOST_TEXTS, Embed, EmbeddingEngine, EmbeddingSpec
from nodes.engine import VllmSpec
from nodes.engines.embedding import open_embedding_engine
from nodes.engines.embedding.cloud import CloudEmbeddingEngine
from nodes.errors import EngineUnavailable, RequestRefused
from tests.contract.waiting import under_way
from tests.llama_http import LlamaHttpServer
from tests.minilm_gguf import write_minilm
from tests.stand_in_vllm import installed_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from streams.devices.replica import Replica

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
    # LiteLLM's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MODEL = "all-minilm-l6-v2"
SPECS = [
    EmbeddingSpec(engine="minilm"),
    EmbeddingSpec(engine="xllamacpp", context_tokens=256),
    EmbeddingSpec(engine="openai", slots=1),
    EmbeddingSpec(engine="vllm", slots=1),
    EmbeddingSpec(engine="litellm", slots=1),
]
LONG = Embed(texts=("word " * 200,) * MOST_TEXTS)
"""A request that no test waits for."""


class Reference(Struct, frozen=True):
    """Texts, and what the model's authors' own library makes of them."""

    made_by: str
    texts: tuple[str, ...]
    vectors: tuple[tuple[float, ...], ...]


REFERENCE = msgspec.json.decode(Path(__file__).with_name("minilm_vectors.json").read_bytes(), type=Reference)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_minilm(tmp_path_factory.mktemp("gguf") / "all-MiniLM-L6-v2-F32.gguf")


@pytest.fixture(scope="module")
def server(gguf: Path) -> Iterator[LlamaHttpServer]:
    """A real one, of llama.cpp's."""
    with LlamaHttpServer(embedding_model=gguf) as running:
        yield running


@pytest.fixture(scope="module", params=SPECS, ids=lambda spec: spec.engine)
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingSpec:
    """Each with the same model, wherever it gets that from."""
    spec: EmbeddingSpec = request.param
    match spec.engine:
        case "minilm":
            return spec
        case "xllamacpp":
            return replace(spec, model=str(request.getfixturevalue("gguf")))
        case "vllm":
            folder = tmp_path_factory.mktemp("vllm") / "all-MiniLM-L6-v2"
            folder.mkdir()
            (folder / "config.json").write_text('{"max_position_embeddings": 512, "dtype": "float32"}')
            (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 256, "do_lower_case": false}')
            vllm = VllmSpec(program=installed_in(folder))
            return replace(spec, model=str(folder), vllm=vllm)
        case _:
            return request.getfixturevalue("server").embedding_asked_by(spec, MODEL)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(spec: EmbeddingSpec) -> AsyncIterator[tuple[EmbeddingEngine, Replica]]:
    engine = open_embedding_engine(spec)
    yield engine, await engine.start()
    await engine.stop()


@pytest.fixture
def engine(started: tuple[EmbeddingEngine, Replica]) -> EmbeddingEngine:
    return started[0]


def numbers(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 4}f", vector)


async def test_the_replica_is_of_the_kind_embedding(started: tuple[EmbeddingEngine, Replica]) -> None:
    replica = started[1]
    assert (replica.kind, replica.model, replica.dimensions) == ("embedding", MODEL, 384)
    assert (replica.context_tokens, replica.slots, replica.continues) == (256, 1, False)
    assert replica.prompt_tokens_per_s


async def test_vectors_equal_the_references(engine: EmbeddingEngine) -> None:
    embedded = await engine.embed(Embed(texts=REFERENCE.texts))
    assert len(embedded.vectors) == len(REFERENCE.texts)
    for vector, expected in zip(map(numbers, embedded.vectors), REFERENCE.vectors, strict=True):
        assert max(abs(a - b) for a, b in zip(vector, expected, strict=True)) < 1e-3
        assert math.isclose(sum(number * number for number in vector), 1, rel_tol=1e-5)


async def test_a_text_has_the_same_vector_alone_and_beside_others(engine: EmbeddingEngine) -> None:
    together = await engine.embed(Embed(texts=REFERENCE.texts[:3]))
    alone = await asyncio.gather(*(engine.embed(Embed(texts=(text,))) for text in REFERENCE.texts[:3]))
    assert together.vectors == tuple(one.vectors[0] for one in alone)
    assert together.usage.prompt_tokens == sum(one.usage.prompt_tokens for one in alone)


async def test_many_texts_keep_their_order(engine: EmbeddingEngine) -> None:
    texts = tuple(f"number {number}" for number in range(70))
    many = (await engine.embed(Embed(texts=texts))).vectors
    assert len(set(many)) == len(many) == 70
    for at in (0, 31, 32, 69):
        alone = (await engine.embed(Embed(texts=(texts[at],)))).vectors[0]
        assert max(abs(a - b) for a, b in zip(numbers(alone), numbers(many[at]), strict=True)) < 1e-5


async def test_usage_counts_the_tokens_of_all_texts(engine: EmbeddingEngine) -> None:
    usage = (await engine.embed(Embed(texts=("happy", "happy person")))).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (3 + 4, 0)


async def test_a_marker_inside_a_text_is_text(engine: EmbeddingEngine) -> None:
    usage = (await engine.embed(Embed(texts=("[SEP]",)))).usage
    if not isinstance(engine, CloudEmbeddingEngine):  # which cannot know the markers of a provider's model
        assert usage.prompt_tokens > 3


@pytest.mark.parametrize("texts", [(), ("",), ("a", ""), ("a",) * (MOST_TEXTS + 1)], ids=len)
async def test_what_is_no_list_of_texts_is_refused(engine: EmbeddingEngine, texts: tuple[str, ...]) -> None:
    with pytest.raises(RequestRefused) as refused:
        await engine.embed(Embed(texts=texts))
    assert refused.value.code == "invalid_input"
    assert engine.load().running == 0


async def test_too_long_a_text_is_refused_and_named(engine: EmbeddingEngine) -> None:
    with pytest.raises(RequestRefused, match=r"text 1 .*context") as refused:
        await engine.embed(Embed(texts=("short", "word " * 300)))
    assert refused.value.code == "context_length_exceeded"


async def test_a_cancelled_request_lets_go_and_the_next_one_runs(engine: EmbeddingEngine) -> None:
    first, second = await under_way(
        lambda: [engine.embed(LONG) for _ in range(2)],
        lambda: (engine.load().running, engine.load().waiting) == (1, 1),
    )
    for task in (second, first):
        task.cancel()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert (engine.load().running, engine.load().waiting) == (0, 0)
    assert (await engine.embed(Embed(texts=("a",)))).usage.prompt_tokens == 3


async def test_stopping_ends_every_request(spec: EmbeddingSpec) -> None:
    engine = open_embedding_engine(spec)
    with pytest.raises(EngineUnavailable):
        await engine.embed(Embed(texts=("a",)))
    await engine.start()
    tasks = await under_way(lambda: [engine.embed(LONG) for _ in range(2)], lambda: engine.load().running == 1)
    await engine.stop()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, EngineUnavailable) for outcome in outcomes)
    assert engine.load().running == 0
    await engine.stop()
