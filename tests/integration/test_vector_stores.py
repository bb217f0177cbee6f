"""Vector stores by OpenAI's own client: made, filled, listed, searched, deleted; another account's are a 404."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest

from gateway.retrieval.store_log import StoreLog
from mesh.access.writer import AccessWriter
from streams.access.fold import LOCAL
from streams.clock import now_ms
from streams.stores.events import StoreOpened
from streams.stores.messages import Combined, Compared, Listed, RetrievalRefused
from streams.tokens import token
from tests.http_gateway import HttpGateway, serve_http, until_known
from tests.played_retrieval import MODEL, PlayedRetrieval, found, played_retrieval
from tests.scripted_mesh import ScriptedMesh, scripted_mesh

pytestmark = pytest.mark.usefixtures("patient_answers")


class Place(NamedTuple):
    """A mesh, a gateway with a client, and what searches."""

    mesh: ScriptedMesh
    gateway: HttpGateway
    client: openai.AsyncOpenAI
    retrieval: PlayedRetrieval


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with scripted_mesh(tmp_path) as mesh:
        await mesh.bus.follow()
        async with (
            played_retrieval(mesh.bus.core) as retrieval,
            serve_http(mesh.bus, known_models=("synthetic", MODEL), vector_store_model=MODEL) as gateway,
            openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
        ):
            yield Place(mesh, gateway, client, retrieval)


async def upload(client: openai.AsyncOpenAI, name: str = "a.md", data: bytes = b"The sea is salty.") -> str:
    return (await client.files.create(file=(name, data), purpose="assistants")).id


async def test_a_store_is_made_changed_listed_and_deleted(place: Place) -> None:
    stores = place.client.vector_stores
    made = await stores.create(
        name="sea", metadata={"a": "b"}, expires_after={"anchor": "last_active_at", "days": 2}, description="of salt"
    )
    assert (made.name, made.status, made.metadata, made.usage_bytes) == ("sea", "completed", {"a": "b"}, 0)
    assert made.expires_at is not None
    assert made.last_active_at is not None
    assert made.expires_at - made.last_active_at == 2 * 24 * 3600
    assert made.model_extra is not None
    assert made.model_extra["embedding_model"] == MODEL
    changed = await stores.update(made.id, name="ocean", expires_after=None)
    assert (changed.name, changed.metadata, changed.expires_at) == ("ocean", {"a": "b"}, None)
    assert (await stores.update(made.id, metadata=None)).metadata == {}
    others = [await stores.create(name=str(number)) for number in range(3)]
    listed = [store.id async for store in stores.list(limit=2)]
    assert listed == [store.id for store in reversed(others)] + [made.id]
    page = await stores.list(order="asc", after=made.id, before=others[2].id)
    assert [store.id for store in page.data] == [others[0].id, others[1].id]
    gone = await stores.delete(made.id)
    assert (gone.id, gone.deleted) == (made.id, True)
    for refused in (stores.retrieve(made.id), stores.delete(made.id), stores.update(made.id, name="x")):
        with pytest.raises(openai.NotFoundError) as missing:
            await refused
        assert missing.value.code == "vector_store_not_found"
    assert made.id not in [store.id async for store in stores.list()]


async def test_a_file_is_taken_in_read_noted_on_and_removed(place: Place) -> None:
    client = place.client
    store = await client.vector_stores.create()
    file = await upload(client)
    static: Any = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 100}}
    added = await client.vector_stores.files.create(
        store.id,
        file_id=file,
        attributes={"topic": "sea", "year": 1999, "done": True},
        chunking_strategy=static,
    )
    assert (added.status, added.attributes) == ("in_progress", {"topic": "sea", "year": 1999, "done": True})
    assert added.chunking_strategy is not None
    assert added.chunking_strategy.to_dict() == static
    assert (await client.vector_stores.retrieve(store.id)).status == "in_progress"
    await place.retrieval.index(LOCAL, store.id, file, "The sea", "is salty.")
    now = await client.vector_stores.files.retrieve(file, vector_store_id=store.id)
    assert (now.status, now.usage_bytes, now.last_error) == ("completed", 100, None)
    content = await client.vector_stores.files.content(file, vector_store_id=store.id)
    assert [part.text for part in content.data] == ["The sea", "is salty."]
    noted = await client.vector_stores.files.update(file, vector_store_id=store.id, attributes={"topic": "salt"})
    assert noted.attributes == {"topic": "salt"}
    await client.vector_stores.files.delete(file, vector_store_id=store.id)
    with pytest.raises(openai.NotFoundError) as missing:
        await client.vector_stores.files.retrieve(file, vector_store_id=store.id)
    assert missing.value.code == "file_not_found"
    assert (await client.files.retrieve(file)).id == file, "the file itself stays"


async def test_a_batch_is_what_its_files_have_become(place: Place) -> None:
    client = place.client
    store = await client.vector_stores.create()
    files = [await upload(client, f"{number}.md") for number in range(3)]
    batch = await client.vector_stores.file_batches.create(store.id, file_ids=files[:2], attributes={"a": 1})
    other = await client.vector_stores.file_batches.create(store.id, files=[{"file_id": files[2]}])
    assert (batch.status, batch.file_counts.total, other.file_counts.total) == ("in_progress", 2, 1)
    await place.retrieval.index(LOCAL, store.id, files[0], "One.")
    await place.retrieval.fail(LOCAL, store.id, files[1], "damaged_file", "It is no PDF.")
    now = await client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id)
    assert (now.status, now.file_counts.completed, now.file_counts.failed) == ("completed", 1, 1)
    failed = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id, filter="failed")
    errors = [(file.id, file.last_error) async for file in failed]
    assert [(name, error and error.to_dict()) for name, error in errors] == [
        (files[1], {"code": "invalid_file", "message": "It is no PDF.", "reason": "damaged_file"})
    ]
    cancelled = await client.vector_stores.file_batches.cancel(other.id, vector_store_id=store.id)
    assert (cancelled.status, cancelled.file_counts.cancelled) == ("cancelled", 1)
    whole = await client.vector_stores.retrieve(store.id)
    assert (whole.status, whole.file_counts.total, whole.usage_bytes) == ("completed", 3, 100)
    assert [file.id async for file in client.vector_stores.files.list(store.id, order="asc", limit=2)] == files


async def test_a_file_that_is_deleted_is_removed_from_every_store(place: Place) -> None:
    client = place.client
    file = await upload(client)
    stores = [await client.vector_stores.create(file_ids=[file]) for _ in range(2)]
    assert [store.file_counts.total for store in stores] == [1, 1]
    await client.files.delete(file)
    assert [(await client.vector_stores.retrieve(store.id)).file_counts.total for store in stores] == [0, 0]


async def test_a_search_finds_passages_and_says_where_they_stand(place: Place) -> None:
    client = place.client
    store = await client.vector_stores.create()
    place.retrieval.found = (
        found("Salt.", store=store.id, score=0.9),
        found("Rivers.", store=store.id, file="file-2", score=0.4),
    )
    page = await client.vector_stores.search(
        store.id,
        query=["why salty?", "rivers?"],
        max_num_results=3,
        ranking_options={"ranker": "auto", "score_threshold": 0.25},
        filters={
            "type": "and",
            "filters": [
                {"type": "eq", "key": "topic", "value": "sea"},
                {"type": "nin", "key": "year", "value": [1999]},
            ],
        },
    )
    assert [(hit.file_id, hit.score, hit.content[0].text) for hit in page.data] == [
        ("file-1", 0.9, "Salt."),
        ("file-2", 0.4, "Rivers."),
    ]
    assert page.data[0].model_extra is not None
    assert page.data[0].model_extra["place"] == {"first": 10, "last": 15, "page": 2, "heading": ["Top"]}
    asked = sorted(place.retrieval.asked, key=lambda one: one.query)
    assert [(one.account, one.stores, one.query, one.limit) for one in asked] == [
        ("local", (store.id,), "rivers?", 3),
        ("local", (store.id,), "why salty?", 3),
    ]
    assert asked[0].threshold == 0.25
    condition = Compared(how="eq", name="topic", value="sea")
    assert asked[0].filter == Combined(
        how="and", filters=(condition, Listed(name="year", values=(1999.0,), is_none_of=True))
    )


async def test_a_store_whose_time_is_over_is_not_used_and_use_puts_that_off(place: Place) -> None:
    stores, log = place.client.vector_stores, StoreLog(place.mesh.bus.core)
    day_ms = 24 * 3600 * 1000
    old, used = [
        (await log.open(LOCAL, StoreOpened(at_ms=now_ms() - ago_ms, model=MODEL, expires_after_days=1))).key.store
        for ago_ms in (2 * day_ms, day_ms // 2)
    ]
    file = await upload(place.client)
    assert (await stores.retrieve(old)).status == "expired"
    for refused in (stores.search(old, query="x"), stores.files.create(old, file_id=file)):
        with pytest.raises(openai.BadRequestError) as over:
            await refused
        assert over.value.code == "vector_store_expired"
    before = (await stores.retrieve(used)).expires_at
    await stores.search(used, query="x")
    await stores.search(used, query="x")
    after = (await stores.retrieve(used)).expires_at
    assert before is not None
    assert after is not None
    assert after - before >= day_ms // 2 // 1000
    chain = b'{"seq": 1, "batch": 9, "next_by_subj": "stores.local.%b"}' % used.encode()
    events = await place.mesh.bus.core.collect("$JS.API.DIRECT.GET.STORES", chain)
    assert len(events.parts) == 2, "noting it once an hour is enough"


async def test_no_store_is_made_without_a_model_or_beyond_the_limit(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.retrieval.store_log.MOST_STORES", 1)
    await place.client.vector_stores.create()
    with pytest.raises(openai.ConflictError) as full:
        await place.client.vector_stores.create()
    assert full.value.code == "too_many_vector_stores"
    async with serve_http(place.mesh.bus) as bare:
        answer = await bare.post("/v1/vector_stores", {})
        assert (answer.status, (await answer.json())["error"]["code"]) == (503, "no_embedding_model")


async def test_what_the_retrieval_process_refuses_is_the_answer_and_so_is_its_absence(place: Place) -> None:
    store = await place.client.vector_stores.create()
    place.retrieval.refusal = RetrievalRefused(code="index_behind", message="Not yet.", status=503)
    with pytest.raises(openai.InternalServerError, match="Not yet") as refused:
        await place.client.vector_stores.search(store.id, query="x")
    assert (refused.value.status_code, refused.value.code) == (503, "index_behind")


async def test_another_accounts_store_is_not_there(place: Place) -> None:
    writer = AccessWriter(place.mesh.bus.core)
    await writer.open(token("acme"))
    client = place.client
    mine = await client.vector_stores.create(file_ids=[await upload(client)])
    key = (await writer.issue(token("acme"), name="k", rights=("chat", "read"), models=())).shown.text
    other = client.with_options(api_key=key)
    await until_known(place.gateway, key)
    theirs = await other.vector_stores.create()
    file = await upload(other)
    stores = other.vector_stores
    for refused in (
        stores.retrieve(mine.id),
        stores.update(mine.id, name="x"),
        stores.delete(mine.id),
        stores.search(mine.id, query="x"),
        stores.files.create(mine.id, file_id=file),
        stores.files.list(mine.id),
        stores.files.retrieve(file, vector_store_id=mine.id),
        stores.files.content(file, vector_store_id=mine.id),
        stores.file_batches.create(mine.id, file_ids=[file]),
        other.responses.create(
            model="synthetic", input="x", tools=[{"type": "file_search", "vector_store_ids": [mine.id]}]
        ),
        other.responses.create(
            model="synthetic", input="x", tools=[{"type": "file_search", "vector_store_ids": [theirs.id, mine.id]}]
        ),
    ):
        with pytest.raises(openai.NotFoundError) as missing:
            await refused
        assert missing.value.code == "vector_store_not_found"
    with pytest.raises(openai.NotFoundError) as missing:
        await client.vector_stores.files.create(mine.id, file_id=file)
    assert missing.value.code == "file_not_found", "another account's file"
    assert [store.id async for store in stores.list()] == [theirs.id]
    assert place.retrieval.asked == []
    assert place.mesh.submitted == []


async def test_what_makes_no_sense_is_refused_by_name(place: Place) -> None:
    store = (await place.client.vector_stores.create()).id
    file = await upload(place.client)
    deep: dict[str, object] = {"type": "eq", "key": "a", "value": 1}
    for _ in range(9):
        deep = {"type": "and", "filters": [deep]}
    static = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51}}
    at = f"/v1/vector_stores/{store}"
    for path, body, code, param in (
        ("/v1/vector_stores", {"metadata": {"a": "b" * 513}}, "invalid_value", "metadata"),
        (
            "/v1/vector_stores",
            {"expires_after": {"anchor": "created", "days": 1}},
            "invalid_value",
            "expires_after.anchor",
        ),
        ("/v1/vector_stores", {"expires_after": {"days": 366}}, "invalid_value", "expires_after.days"),
        ("/v1/vector_stores", {"chunking_strategy": static}, "invalid_value", None),
        ("/v1/vector_stores", {"embedding_model": "nobody"}, "model_not_found", "embedding_model"),
        ("/v1/vector_stores", {"file_ids": ["file-nobody"]}, "file_not_found", "file_id"),
        (f"{at}/files", {}, "missing_required_parameter", "file_id"),
        (f"{at}/files", {"file_id": file, "attributes": {"a": ["b"]}}, "invalid_type", None),
        (f"{at}/file_batches", {}, "invalid_value", "file_ids"),
        (f"{at}/file_batches", {"file_ids": [file], "files": [{"file_id": file}]}, "invalid_value", "file_ids"),
        (f"{at}/file_batches/vsfb_1/cancel", {}, "file_batch_not_found", "batch_id"),
        (f"{at}/search", {}, "missing_required_parameter", "query"),
        (f"{at}/search", {"query": ""}, "invalid_value", "query"),
        (f"{at}/search", {"query": "x", "rewrite_query": True}, "unsupported_value", "rewrite_query"),
        (f"{at}/search", {"query": "x", "max_num_results": 51}, "invalid_value", "max_num_results"),
        (
            f"{at}/search",
            {"query": "x", "filters": {"type": "eq", "value": 1}},
            "missing_required_parameter",
            "filters.key",
        ),
        (f"{at}/search", {"query": "x", "filters": {"type": "or"}}, "missing_required_parameter", "filters.filters"),
        (f"{at}/search", {"query": "x", "filters": {"type": "in", "key": "a", "value": 1}}, "invalid_value", None),
        (f"{at}/search", {"query": "x", "filters": deep}, "invalid_value", "filters"),
        (
            f"{at}/search",
            {"query": "x", "ranking_options": {"hybrid_search": {"embedding_weight": 1, "text_weight": 1}}},
            "unsupported_parameter",
            "ranking_options.hybrid_search",
        ),
    ):
        answer = await place.gateway.post(path, body)
        error = (await answer.json())["error"]
        assert (answer.status < 500, error["code"]) == (True, code), (path, body, error)
        assert param in (None, error["param"]), (path, body, error)
    for query, param in (("limit=0", "limit"), ("order=up", "order"), ("after=nobody", "after")):
        answer = await place.gateway.get(f"/v1/vector_stores?{query}")
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, param)
