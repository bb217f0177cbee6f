"""A mesh whose vector store finds what a test says, and two gateways that answer from it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import openai
from openai.types.responses import ResponseStreamEvent

from tests.http_gateway import LIMIT_S, MODEL, HttpGateway, serve_http
from tests.played_retrieval import MODEL as EMBEDDER
from tests.played_retrieval import PlayedRetrieval, found, played_retrieval
from tests.scripted_mesh import ScriptedMesh, scripted_mesh

FACT = "Rivers carry dissolved salt into the sea."
ANSWER = ("It is salty. ", "Rivers carry dissolved ", "salt into the sea. ", "That is all.")
TEXT = "".join(ANSWER)
CITED = (TEXT.index(" That"), "file-1", "salt.md", "overlap")
QUESTION = "Why is the sea salty?"


class Place(NamedTuple):
    """A mesh, two gateways with a client each, and a store."""

    mesh: ScriptedMesh
    one: openai.AsyncOpenAI
    other: openai.AsyncOpenAI
    gateways: tuple[HttpGateway, HttpGateway]
    retrieval: PlayedRetrieval
    store: str

    @property
    def tool(self) -> Any:
        """The tool that searches its store."""
        return {"type": "file_search", "vector_store_ids": [self.store], "max_num_results": 3}

    async def begin_anew(self) -> None:
        """End all answers, and be as at first: for tests that share it."""
        await self.mesh.begin_anew()
        self.mesh.words = ANSWER
        self.retrieval.asked.clear()
        self.retrieval.finds = {}
        self.retrieval.found = (
            found(FACT, store=self.store, filename="salt.md", score=0.9),
            found("The sky is blue.", store=self.store, file="file-2", filename="sky.md", score=0.2),
        )


def client(gateway: HttpGateway) -> openai.AsyncOpenAI:
    """OpenAI's client of a gateway."""
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)


@asynccontextmanager
async def searching_place(tmp_path: Path) -> AsyncIterator[Place]:
    """Run it."""
    known = {"known_models": (MODEL, EMBEDDER), "vector_store_model": EMBEDDER}
    async with scripted_mesh(tmp_path) as mesh:
        bus = await mesh.connect("other")
        await mesh.bus.follow()
        await bus.follow()
        async with (
            played_retrieval(mesh.bus.core) as retrieval,
            serve_http(mesh.bus, **known) as one,
            serve_http(bus, **known) as other,
            client(one) as first,
            client(other) as second,
        ):
            store = (await first.vector_stores.create(name="sea")).id
            place = Place(mesh, first, second, (one, other), retrieval, store)
            await place.begin_anew()
            yield place
        await bus.close()


async def events_of(stream: openai.AsyncStream[ResponseStreamEvent], until: int | None = None) -> list[Any]:
    """All events of a stream, or those up to a number."""
    seen: list[Any] = []
    async with asyncio.timeout(LIMIT_S):
        async for event in stream:
            seen.append(event)
            if event.sequence_number == until:
                break
    return seen


def cited(annotations: list[Any]) -> list[tuple[int, str, str, str]]:
    """What citations say, but for their places."""
    return [(one.index, one.file_id, one.filename, one.support) for one in annotations]
