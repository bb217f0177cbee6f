"""What brokers say of their stores reaches gateways, and users who ask."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.bus.link import Link
from mesh.bus.store_feed import tell_store
from streams import subjects
from streams.codec import decode, encode
from streams.messages import StoreRequest, StoreStatus
from streams.tokens import token
from tests.mesh_in_process import InProcessMesh
from tests.processes import PATIENCE_S, until

FULL = "its disk has only 0 MiB left"


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        yield running


@pytest.fixture
async def keeper(mesh: InProcessMesh) -> AsyncIterator[dict[str, str | None]]:
    """Two brokers' keepers, which say what stands here."""
    said: dict[str, str | None] = {"one": None, "two": None}
    telling = [
        asyncio.create_task(tell_store(mesh.bus.core, token(name), lambda name=name: said[name])) for name in said
    ]
    yield said
    for one in telling:
        one.cancel()
    await asyncio.gather(*telling, return_exceptions=True)


async def test_without_any_word_tasks_are_taken(mesh: InProcessMesh) -> None:
    assert mesh.bus.stores.shortage is None


async def test_tasks_are_refused_when_no_broker_has_room(mesh: InProcessMesh, keeper: dict[str, str | None]) -> None:
    keeper["one"] = FULL
    keeper["two"] = FULL
    await until(lambda: mesh.bus.stores.shortage == FULL)
    keeper["two"] = None
    await until(lambda: mesh.bus.stores.shortage is None)


async def test_a_word_that_is_not_renewed_counts_no_more(mesh: InProcessMesh) -> None:
    last_words = StoreStatus(at_ms=0, interval_s=0.5, takes_tasks=False, reason=FULL)
    async with asyncio.timeout(PATIENCE_S):
        while mesh.bus.stores.shortage != FULL:
            mesh.bus.core.send(subjects.store(token("gone")), encode(last_words))
            await asyncio.sleep(0.02)
    await until(lambda: mesh.bus.stores.shortage is None)


async def test_a_user_may_ask(mesh: InProcessMesh, keeper: dict[str, str | None]) -> None:
    user = await mesh.connect_user()
    assert (await ask(user)).takes_tasks
    keeper["one"] = keeper["two"] = FULL
    await until(lambda: mesh.bus.stores.shortage is not None)
    told = await ask(user)
    assert (told.takes_tasks, told.reason) == (False, FULL)


async def ask(user: Link) -> StoreStatus:
    answer = await user.request(subjects.user_api(token("local"), "store"), encode(StoreRequest()))
    return decode(answer.data, StoreStatus)
