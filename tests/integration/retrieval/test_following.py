"""An index is what STORES and PASSAGES say: live, after a crash or a day away, and built anew from nothing."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.retrieval.expiring import Expirer
from gateway.retrieval.following import IndexFollower
from gateway.retrieval.index.index import Index, Origin, shelf_name
from gateway.retrieval.index.qdrant_folder import QdrantFolder
from gateway.retrieval.index.words import Words
from gateway.retrieval.store_log import StoreLog
from streams.stores.events import StoreChanged, StoreClosed, StoreFileAdded, StoreFileIndexed
from streams.stores.subjects import passages
from streams.tokens import Token
from tests.http_gateway import until
from tests.memory_folder import memory_folder
from tests.mesh_in_process import InProcessMesh
from tests.number_engine import MODEL, vector_of
from tests.stored_passages import WrittenStore

pytestmark = pytest.mark.usefixtures("patient_answers")

APPLES = ("Apples keep in a cool cellar.", "Pruning is done in February.", "The orchard has 40 trees.")
PEARS = ("Pears ripen on the shelf.", "Their trees need a warm wall.")
OTHER_MODEL = "other"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with memory_folder() as folder:
        yield folder


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        yield running


@asynccontextmanager
async def following(mesh: InProcessMesh, folder: Path, *, is_anew: bool = False) -> AsyncIterator[Index]:
    index = QdrantFolder(folder, Words())
    follower = IndexFollower(mesh.bus.core, index, is_anew=is_anew)
    await follower.start()
    try:
        yield index
    finally:
        await follower.stop()
        await index.aclose()


@asynccontextmanager
async def expiring(mesh: InProcessMesh, folder: Path) -> AsyncIterator[None]:
    """One retrieval process that looks for stores whose time is over."""
    index = QdrantFolder(folder / uuid4().hex, Words())
    follower = IndexFollower(mesh.bus.core, index)
    await follower.start()
    expirer = Expirer(follower, StoreLog(mesh.bus.core), every=timedelta(milliseconds=20))
    await expirer.start()
    try:
        yield
    finally:
        await expirer.stop()
        await follower.stop()
        await index.aclose()


async def content(index: Index) -> object:
    """All that can be asked of an index."""
    shelves = sorted(await index.shelves())
    return [(shelf, await index.held(shelf), await index.near(shelf, vector_of("trees"), 99)) for shelf in shelves]


async def some_life(mesh: InProcessMesh) -> tuple[WrittenStore, ...]:
    """Stores with files that come, go, change and are embedded anew."""
    store, other, closed = [await WrittenStore.open(mesh.bus) for _ in range(3)]
    for one in (store, other, closed):
        await one.add("file-apples", *APPLES)
        await one.add("file-pears", *PEARS)
    await store.remove("file-pears")
    await store.add("file-apples", *APPLES[:2])
    await other.add("file-pears", *PEARS, model=OTHER_MODEL)
    await closed.note(StoreClosed(at_ms=9))
    return store, other, closed


async def test_an_index_built_anew_equals_one_that_has_followed_all_along(mesh: InProcessMesh, tmp_path: Path) -> None:
    async with following(mesh, tmp_path / "live") as live:
        await some_life(mesh)
        async with following(mesh, tmp_path / "anew") as anew:
            built = await content(anew)

        async def has_caught_up() -> bool:
            # What is wanted no more is taken out after the store is shown, so it is not there to wait for.
            return await content(live) == built

        await until(has_caught_up)
    # The live one, thrown away by its own process.
    async with following(mesh, tmp_path / "live", is_anew=True) as again:
        assert await content(again) == built


async def test_a_store_whose_time_is_over_is_said_to_be_by_one_of_those_who_see_it_and_leaves_the_index(
    mesh: InProcessMesh, tmp_path: Path
) -> None:
    store = await WrittenStore.open(mesh.bus)
    await store.add("file-apples", *APPLES)
    before = await store.note(StoreChanged(at_ms=9, expires_after_days=1))
    async with following(mesh, tmp_path / "index") as index, expiring(mesh, tmp_path), expiring(mesh, tmp_path):

        async def is_gone() -> bool:
            return not await index.shelves()

        await until(is_gone)
        standing = await store.log.find(store.key)
    assert standing is not None
    assert (standing.state.is_expired, standing.sequence) == (True, before + 1)


async def test_what_happened_while_nobody_followed_is_mended(mesh: InProcessMesh, tmp_path: Path) -> None:
    store = await WrittenStore.open(mesh.bus)
    await store.add("file-pears", *PEARS)
    async with following(mesh, tmp_path / "index") as index:
        assert list(await index.held(shelf_name(store.key, MODEL))) != []
    await some_life(mesh)
    await store.remove("file-pears")

    async with following(mesh, tmp_path / "index") as index, following(mesh, tmp_path / "anew") as anew:
        assert await content(index) == await content(anew)


async def test_half_a_file_and_a_store_that_never_was_are_found_by_comparing(
    mesh: InProcessMesh, tmp_path: Path
) -> None:
    store = await WrittenStore.open(mesh.bus)
    generation = await store.add("file-apples", *APPLES)
    origin, shelf = Origin(Token("file-apples"), generation), shelf_name(store.key, MODEL)
    async with following(mesh, tmp_path / "whole") as index:
        expected = await content(index)
        passages = await store.passages.held(f"passages.{store.key.account}.{store.key.store}.*.*.*")
        first = await store.passages.get(passages[0])
    assert first is not None
    half = QdrantFolder(tmp_path / "half", Words())
    await half.add(shelf, origin, first.passages)
    await half.add("acme.vs_never.0011223344556677", origin, first.passages)
    await half.aclose()

    async with following(mesh, tmp_path / "half") as index:
        assert await content(index) == expected


async def test_a_shelf_that_is_damaged_is_built_anew(mesh: InProcessMesh, tmp_path: Path) -> None:
    store = await WrittenStore.open(mesh.bus)
    await store.add("file-apples", *APPLES)
    shelf = tmp_path / "index" / shelf_name(store.key, MODEL)
    async with following(mesh, tmp_path / "index") as index:
        expected = await content(index)
    for segment in (shelf / "segments").iterdir():
        shutil.rmtree(segment / "vector_storage-meaning")
        (segment / "segment.json").write_text("{")

    async with following(mesh, tmp_path / "index") as index:
        assert await content(index) == expected


async def test_a_file_whose_vectors_do_not_fit_is_left_out_and_the_others_are_found(
    mesh: InProcessMesh, tmp_path: Path
) -> None:
    store = await WrittenStore.open(mesh.bus)
    await store.add("file-apples", *APPLES)
    await store.add("file-short", "Short", dimensions=4)
    await store.add("file-pears", *PEARS)
    async with following(mesh, tmp_path / "index") as index:
        held = await index.held(shelf_name(store.key, MODEL))
        assert sorted(origin.file for origin in held) == ["file-apples", "file-pears"]


async def test_a_file_whose_passages_cannot_be_read_is_left_out_and_the_others_are_found(
    mesh: InProcessMesh, tmp_path: Path
) -> None:
    store = await WrittenStore.open(mesh.bus)
    newer = Token("file-newer")
    generation = await store.note(StoreFileAdded(at_ms=2, file=newer, filename="newer.md"))
    await mesh.bus.core.append(passages(store.key, newer, generation, 0), b"of a newer version")
    await store.note(
        StoreFileIndexed(
            at_ms=3, file=newer, generation=generation, model=MODEL,
            parts=1, passages=1, tokens=1, characters=1, bytes=1,
        )
    )  # fmt: skip
    async with following(mesh, tmp_path / "index") as index:
        await store.add("file-pears", *PEARS)

        async def is_there() -> bool:
            return bool(await index.held(shelf_name(store.key, MODEL)))

        await until(is_there)
        assert [origin.file for origin in await index.held(shelf_name(store.key, MODEL))] == ["file-pears"]
