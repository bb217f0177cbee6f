"""Searching vector stores over a real mesh: what was just added is found, and nobody finds what is another's."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from gateway.intake.submissions import Submissions
from gateway.retrieval.following import IndexFollower
from gateway.retrieval.index.qdrant_folder import QdrantFolder
from gateway.retrieval.index.words import Words
from gateway.retrieval.searching import SearchDesk
from mesh.inspection.account_erasure import AccountErasure
from streams.codec import decode, encode
from streams.stores.events import Attribute, StoreChanged, StoreClosed, StoreFileChanged
from streams.stores.messages import (
    Compared,
    FoundPassages,
    Ranking,
    RetrievalAnswer,
    RetrievalRefused,
    SearchPassages,
)
from streams.stores.subjects import SEARCH
from streams.tokens import Token
from streams.topology import stream_specs
from tests.memory_folder import memory_folder
from tests.mesh_in_process import InProcessMesh
from tests.number_engine import LONGEST, NumberEngine
from tests.stored_passages import WrittenStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

APPLES = ("Apples keep in a cool cellar.", "Pruning is done in February.", "The orchard has 40 trees.")
PEARS = ("Pears ripen on the shelf.", "Their trees need a warm wall.")
PATIENCE = timedelta(seconds=30)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[InProcessMesh]:
    with memory_folder() as folder:
        index = QdrantFolder(folder / "index", Words())
        async with InProcessMesh(folder=folder / "mesh") as running:
            await running.add_dispatcher()
            await running.add_node("n1", engine=NumberEngine(), interval_s=5)
            follower = IndexFollower(running.bus.core, index)
            desk = SearchDesk(running.bus, follower, index)
            await follower.start()
            await desk.start()
            yield running
            await desk.stop()
            await follower.stop()
        await index.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def store(mesh: InProcessMesh) -> WrittenStore:
    written = await WrittenStore.open(mesh.bus)
    await written.add("file-apples", *APPLES, team="garden")
    return written


async def answer(store: WrittenStore, query: str, *, account: str = "acme", **asked: Any) -> RetrievalAnswer:
    request = SearchPassages(account=account, stores=(store.key.store,), query=query, **asked)
    reply = await store.bus.core.request(SEARCH, encode(request), timeout=PATIENCE)
    return decode(reply.data, RetrievalAnswer)  # pyright: ignore[reportArgumentType] - a union is a type to msgspec


async def texts(store: WrittenStore, query: str, **asked: Any) -> list[str]:
    found = await answer(store, query, **asked)
    assert isinstance(found, FoundPassages), found
    return [hit.text for hit in found.hits]


async def refusal(store: WrittenStore, query: str = "cellar", **asked: Any) -> tuple[int, str]:
    refused = await answer(store, query, **asked)
    assert isinstance(refused, RetrievalRefused), refused
    return refused.status, refused.code


async def test_what_was_added_is_found_at_once_by_its_meaning_and_its_words(store: WrittenStore) -> None:
    found = await answer(store, APPLES[1])
    assert isinstance(found, FoundPassages)
    best = found.hits[0]
    assert (best.text, best.file, best.filename) == (APPLES[1], "file-apples", "file-apples.md")
    assert (best.store, best.attributes) == (store.key.store, (Attribute(name="team", value="garden"),))
    assert (best.place.first, best.place.page, best.place.heading) == (100, 2, ("Fruit",))
    assert best.score == pytest.approx(1.0)
    assert [hit.score for hit in found.hits] == sorted((hit.score for hit in found.hits), reverse=True)


@pytest.mark.parametrize(("ranking", "count"), [("lexical", 1), ("dense", 3), ("hybrid", 3), ("auto", 3)])
async def test_each_way_of_ranking_finds_what_it_can(store: WrittenStore, ranking: Ranking, count: int) -> None:
    found = await texts(store, "cellars", ranking=ranking)
    assert len(found) == count
    assert ranking == "dense" or APPLES[0] in found


async def test_the_limit_and_the_threshold_leave_out_what_is_behind(store: WrittenStore) -> None:
    assert await texts(store, APPLES[1], limit=1) == [APPLES[1]]
    assert await texts(store, APPLES[1], threshold=0.99) == [APPLES[1]]


async def test_a_file_is_not_found_once_it_was_removed_and_its_newest_generation_counts(store: WrittenStore) -> None:
    await store.add("file-pears", *PEARS)
    assert PEARS[0] in await texts(store, PEARS[0])
    await store.add("file-pears", "Pears are picked early.")
    assert await texts(store, "pears", ranking="lexical") == ["Pears are picked early."]
    await store.remove("file-pears")
    assert await texts(store, "pears", ranking="lexical") == []


async def test_only_files_with_the_wanted_attributes_are_found_as_they_are_now(store: WrittenStore) -> None:
    await store.add("file-pears", *PEARS, team="kitchen", year=2024.0)
    garden, kitchen = (Compared(how="eq", name="team", value=value) for value in ("garden", "kitchen"))
    assert set(await texts(store, "trees", filter=garden)) == set(APPLES)
    assert set(await texts(store, "trees", filter=kitchen)) == set(PEARS)

    changed = (Attribute(name="team", value="garden"),)
    await store.note(StoreFileChanged(at_ms=5, file="file-pears", attributes=changed))

    assert set(await texts(store, "trees", filter=garden)) == {*APPLES, *PEARS}
    assert await texts(store, "trees", filter=kitchen) == []


async def test_several_stores_are_searched_as_one(store: WrittenStore) -> None:
    other = await WrittenStore.open(store.bus)
    await other.add("file-pears", *PEARS)
    both = (store.key.store, other.key.store)
    request = SearchPassages(account="acme", stores=both, query="trees", ranking="lexical")
    reply = await store.bus.core.request(SEARCH, encode(request), timeout=PATIENCE)
    found = decode(reply.data, FoundPassages)
    assert {(hit.store, hit.text) for hit in found.hits} == {(both[0], APPLES[2]), (both[1], PEARS[1])}


async def test_an_empty_store_has_nothing(mesh: InProcessMesh) -> None:
    assert await texts(await WrittenStore.open(mesh.bus), "trees") == []


async def test_a_store_of_another_account_is_as_unknown_as_one_that_never_was(store: WrittenStore) -> None:
    assert await refusal(store, account="mallory") == (404, "vector_store_not_found")
    assert await refusal(store, account="*") == (404, "vector_store_not_found")
    never = WrittenStore(
        bus=store.bus, key=store.key._replace(store=Token("vs_none")), log=store.log, passages=store.passages
    )
    assert await refusal(never) == (404, "vector_store_not_found")


async def test_a_store_that_was_closed_or_has_expired_is_not_searched(mesh: InProcessMesh) -> None:
    closed, expired = [await WrittenStore.open(mesh.bus) for _ in range(2)]
    await closed.note(StoreClosed(at_ms=9))
    await expired.note(StoreChanged(at_ms=9, expires_after_days=1))
    assert await refusal(closed) == (404, "vector_store_not_found")
    assert await refusal(expired) == (400, "vector_store_expired")


async def test_a_store_of_an_account_that_was_erased_is_unknown(mesh: InProcessMesh) -> None:
    gone = await WrittenStore.open(mesh.bus, "gone")
    await gone.add("file-apples", *APPLES)
    assert APPLES[0] in await texts(gone, "cellar", account="gone")
    await (await AccountErasure.begin(mesh.bus, Token("gone"), stream_specs())).run()
    assert await refusal(gone, account="gone") == (404, "vector_store_not_found")


async def test_the_same_query_of_an_account_asks_the_nodes_once(store: WrittenStore) -> None:
    async def asked() -> int:
        return len(await Submissions(store.bus.edge).recent(Token("acme"), 1000))

    before = await asked()
    for _ in range(3):
        await texts(store, "Where do quinces grow?")
    assert await asked() == before + 1
    await texts(store, "Where do quinces grow?", ranking="lexical")
    await texts(store, "Where do they grow?", ranking="lexical")
    assert await asked() == before + 1


async def test_a_query_too_long_for_the_model_is_read_as_far_as_it_goes(store: WrittenStore) -> None:
    assert (await texts(store, "cellar " * LONGEST))[0] == APPLES[0]


async def test_without_a_node_that_makes_vectors_only_words_can_be_looked_for(mesh: InProcessMesh) -> None:
    store = await WrittenStore.open(mesh.bus, model="nobody-has-it")
    await store.add("file-apples", *APPLES, model="nobody-has-it")
    status, code = await refusal(store)
    assert (status, code) == (404, "model_not_found")
    assert await texts(store, "cellar", ranking="lexical") == [APPLES[0]]
