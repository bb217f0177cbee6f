"""Answers to questions that mean the same, by nodes that write and nodes that make vectors."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientResponse

from gateway.http.cache import similar
from mesh.access.writer import AccessWriter
from streams.access.limits import Limits
from streams.tokens import Token
from tests.http_gateway import LIMIT_S, HttpGateway, serve_http
from tests.integration.cache.conftest import PATIENT, caching, had
from tests.mesh_in_process import InProcessMesh
from tests.number_engine import DIMENSIONS, MODEL, NumberEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

SKY, SAME, OTHER = "Why is the sky blue?", "Please tell me: why is the sky blue?", "Why is the sky grey?"


class LetterEngine(NumberEngine):
    """Texts of nearly the same letters have nearly the same vector."""

    def vectors(self, texts: tuple[str, ...]) -> tuple[bytes, ...]:
        return tuple(map(_letters, texts))


def _letters(text: str) -> bytes:
    counts = [0.0] * DIMENSIONS
    for char in text:
        counts[ord(char) % DIMENSIONS] += 1
    length = sum(count * count for count in counts) ** 0.5
    return struct.pack(f"<{DIMENSIONS}f", *(count / length for count in counts))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> LetterEngine:
    return LetterEngine()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory, engine: LetterEngine) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("similar")) as running:
        await running.add_dispatcher()
        await running.add_node("n1", engine=engine, interval_s=5)
        await running.add_node("n2", interval_s=5)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(mesh: InProcessMesh) -> AsyncIterator[HttpGateway]:
    async with serve_patiently(mesh, cache_similar_model=MODEL, cache_similar_distance=0.25) as serving:
        await serving.until_served()
        await serving.until_served(MODEL)
        yield serving


@asynccontextmanager
async def serve_patiently(mesh: InProcessMesh, **settings: Any) -> AsyncIterator[HttpGateway]:
    """Serve with a cache and with vectors that are waited for, however slow this machine is."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(similar, "_PATIENCE_S", LIMIT_S)
        async with serve_http(mesh.bus, cache_patience=PATIENT, **settings) as serving:
            yield serving


async def asked(gateway: HttpGateway, text: str, *, system: str, wish: str = "similar", **said: Any) -> ClientResponse:
    """Ask, and wait until all is stored that is to be."""
    headers = {name: said.pop(name) for name in ("Authorization",) if name in said}
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    answer = await gateway.ask({"messages": messages, **said}, x_ig3_cache=wish, **headers)
    await answer.read()
    await caching(gateway).cache.settle()
    await caching(gateway).similar.settle()
    return answer


async def test_a_similar_question_gets_the_answer_and_how_far_away_it_was(gateway: HttpGateway) -> None:
    first = await asked(gateway, SKY, system="a")
    assert (had(first), "x-ig3-cache-distance" in first.headers) == ("miss", False)
    again = await asked(gateway, SAME, system="a")
    assert (had(again), again.headers["x-ig3-task"]) == ("similar", first.headers["x-ig3-task"])
    assert 0 < float(again.headers["x-ig3-cache-distance"]) <= 0.25
    assert (await again.json())["choices"] == (await first.json())["choices"]
    streamed = await asked(gateway, SAME, system="a", stream=True)
    assert had(streamed) == "similar"
    # Once more the very same: no vector is needed for that.
    assert had(await asked(gateway, SKY, system="a")) == "hit"


@pytest.mark.parametrize(
    "other",
    [
        {"text": OTHER},
        {"text": "Why is the sky not blue?"},
        {"system": "b2"},
        {"temperature": 0.5},
        {"max_tokens": 4},
        {"tools": [{"type": "function", "function": {"name": "look"}}]},
        {"wish": "use"},
    ],
)
async def test_a_question_that_differs_in_what_weighs_or_in_anything_else_gets_its_own(
    gateway: HttpGateway, other: dict[str, Any]
) -> None:
    system = f"b {other}"
    assert had(await asked(gateway, SKY, system=system)) == "miss"
    changed = {"text": SAME, "system": system, **other}
    assert had(await asked(gateway, **changed)) == "miss"


async def test_earlier_turns_are_part_of_the_question(gateway: HttpGateway) -> None:
    def turns(before: str, text: str) -> list[dict[str, str]]:
        said = [("user", before), ("assistant", "ok"), ("user", text)]
        return [{"role": role, "content": content} for role, content in said]

    for before, text, expected in (("c", SKY, "miss"), ("c", SAME, "similar"), ("d", SAME, "miss")):
        assert had(await asked(gateway, text, system="", messages=turns(before, text))) == expected


async def test_no_account_gets_what_is_similar_to_anothers(mesh: InProcessMesh) -> None:
    writer, keys = AccessWriter(mesh.bus.core), list[str]()
    for account in ("acme", "beta"):
        await writer.open(Token(account))
        shown, _ = await writer.issue(Token(account), name="test", rights=("chat",), limits=Limits())
        keys.append(f"Bearer {shown.text}")
    settings = {"auth": "required", "cache_similar_model": MODEL, "cache_similar_distance": 0.25}
    async with serve_patiently(mesh, **settings) as gateway:
        await gateway.access.look()
        await gateway.until_served()
        await gateway.until_served(MODEL)
        assert had(await asked(gateway, SKY, system="e", Authorization=keys[0])) == "miss"
        assert had(await asked(gateway, SAME, system="e", Authorization=keys[1])) == "miss"
        assert (
            had(await asked(gateway, "Tell me: why is the sky blue?", system="e", Authorization=keys[0])) == "similar"
        )


async def test_without_a_node_that_makes_vectors_only_the_same_is_found(mesh: InProcessMesh) -> None:
    async with serve_patiently(mesh, cache_similar_model="nobody-has-it") as gateway:
        await gateway.until_served()
        assert had(await asked(gateway, SKY, system="f")) == "miss"
        assert had(await asked(gateway, SAME, system="f")) == "miss"
        assert had(await asked(gateway, SKY, system="f")) == "hit"


async def test_who_asks_for_it_where_it_is_off_is_told(mesh: InProcessMesh) -> None:
    async with serve_http(mesh.bus, cache_similar_model=None) as gateway:
        refused = await gateway.ask(x_ig3_cache="similar")
        assert (refused.status, (await refused.json())["error"]["code"]) == (400, "unsupported_value")


async def test_many_who_ask_the_same_at_once_have_one_vector_made(gateway: HttpGateway, engine: LetterEngine) -> None:
    import asyncio

    engine.embedded.clear()
    answers = await asyncio.gather(*(asked(gateway, SKY, system="g") for _ in range(8)))
    assert {had(answer) for answer in answers} == {"miss"}
    assert engine.embedded == [(SKY,)]
