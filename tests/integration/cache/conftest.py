"""A mesh that follows a script, shared by the tests of a module, and gateways on it with a cache."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientResponse

from gateway.cache import nats_store, redis_store
from gateway.http.cache.caching import Caching
from gateway.http.site import SITE
from mesh.access.writer import AccessWriter
from mesh.history.ordered import OrderedReader
from streams.cache.events import CacheHit
from streams.cache.subjects import cache_hits
from streams.codec import decode
from streams.tokens import Token
from streams.topology import HITS
from tests.http_gateway import LIMIT_S, HttpGateway, Json, serve_http
from tests.patient_links import wait_for_answers
from tests.scripted_mesh import ScriptedMesh, scripted_mesh
from tests.valkey_server import ValkeyServer

ACME, OTHER = Token("acme"), Token("other")
PATIENT = timedelta(seconds=LIMIT_S)
QUESTIONS = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def answers() -> Iterator[None]:
    """No answer of the broker or of a store counts as lost because this machine is slow."""
    with pytest.MonkeyPatch.context() as patch:
        wait_for_answers(patch)
        patch.setattr(nats_store, "_LONGEST", PATIENT)
        patch.setattr(redis_store, "_LONGEST_S", LIMIT_S)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScriptedMesh]:
    async with scripted_mesh(tmp_path_factory.mktemp("mesh")) as running:
        await running.bus.follow()
        for account in (ACME, OTHER):
            await AccessWriter(running.bus.core).open(account)
        yield running


@pytest.fixture
def mesh(running: ScriptedMesh) -> ScriptedMesh:
    """The mesh that all tests of a module share, as it was at first."""
    running.words, running.pause_after, running.submitted, running.error = ("one ", "two ", "three"), None, [], None
    running.go, running.paused = asyncio.Event(), asyncio.Event()
    return running


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@dataclass(kw_only=True)
class Gateways:
    """Opens gateways on one mesh that share a cache, each with connections of its own."""

    mesh: ScriptedMesh
    stack: AsyncExitStack
    usual: dict[str, Any]

    async def open(self, **settings: Any) -> HttpGateway:
        """Open one more."""
        bus = await self.mesh.connect(f"gateway-{next(QUESTIONS)}")
        self.stack.push_async_callback(bus.close)
        await bus.follow()
        serving = serve_http(bus, **{"cache_patience": PATIENT, **self.usual, **settings})
        gateway = await self.stack.enter_async_context(serving)
        await gateway.access.look()
        return gateway


@pytest_asyncio.fixture(loop_scope="module")
async def gateways(mesh: ScriptedMesh) -> AsyncIterator[Gateways]:
    async with AsyncExitStack() as stack:
        yield Gateways(mesh=mesh, stack=stack, usual={})


def question(**fields: object) -> Json:
    """A request that nobody has made before, and that leaves nothing to chance."""
    messages = [{"role": "user", "content": f"question {next(QUESTIONS)}"}]
    return {"messages": messages, "temperature": 0, **fields}


def had(response: ClientResponse) -> str:
    """What the cache had for a request."""
    assert response.status == 200, response.status
    return response.headers["x-ig3-cache"]


async def kept(gateway: HttpGateway, body: Json, **headers: str) -> str:
    """Have an answer generated and stored; returns its task."""
    first = await gateway.ask(body, **headers)
    assert had(first) == "miss"
    await first.read()
    await caching(gateway).cache.settle()
    return first.headers["x-ig3-task"]


async def hits_of(mesh: ScriptedMesh, account: Token, *gateways: HttpGateway) -> list[CacheHit]:
    """What gateways have noted of answers that an account was given again, each once.

    One that was being stored when its gateway was asked to write all that is left is written once more: who reads them
    goes by their ``batch``.
    """
    for gateway in gateways:
        hits = caching(gateway).hits
        assert hits is not None
        await hits.stop()
    events: dict[str, CacheHit] = {}
    async with OrderedReader(mesh.bus.core, HITS, filters=(cache_hits(account),)) as reader:
        while not reader.is_caught_up:
            found = [decode(one.data, CacheHit) for one in await reader.take(wait_s=LIMIT_S)]
            events |= {event.batch: event for event in found}
    return list(events.values())


def caching(gateway: HttpGateway) -> Caching:
    return gateway.server._app[SITE].caching
