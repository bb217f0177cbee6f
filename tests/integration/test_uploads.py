"""Uploads by OpenAI's own client: pieces become one file, once, and what does not fit is refused by name."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
import pytest_asyncio
from openai.types import Upload

from mesh.files.store import FileStore
from mesh.files.uploads import LASTS_MS, MOST_UPLOADS, Outcome, UploadStore
from mesh.files.uploads import Upload as Wanted
from streams.clock import now_ms
from streams.files.events import PART_BYTES, StoredFile
from streams.tokens import Token
from tests.http_gateway import HttpGateway, serve_http
from tests.mesh_in_process import InProcessMesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOCAL = Token("local")
DATA = hashlib.shake_256(b"seed").digest(3 * PART_BYTES + 17)
LIMIT_BYTES = 4 * PART_BYTES


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=Path(tmp_path_factory.mktemp("mesh"))) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(mesh: InProcessMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus, file_limit=LIMIT_BYTES) as serving:
        yield serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(gateway: HttpGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as connected:
        yield connected


async def begin(client: openai.AsyncOpenAI, size: int = len(DATA)) -> Upload:
    return await client.uploads.create(filename="notes.txt", purpose="user_data", bytes=size, mime_type="text/plain")


async def add(client: openai.AsyncOpenAI, upload: Upload, data: bytes) -> str:
    part = await client.uploads.parts.create(upload.id, data=data)
    assert (part.object, part.upload_id) == ("upload.part", upload.id)
    return part.id


async def test_pieces_that_came_at_once_are_the_file_in_the_order_that_is_said(
    mesh: InProcessMesh, client: openai.AsyncOpenAI
) -> None:
    upload = await begin(client)
    assert (upload.status, upload.bytes, upload.file) == ("pending", len(DATA), None)
    halves = [DATA[:-300_000], DATA[-300_000:]]
    first, second, _ = await asyncio.gather(*(add(client, upload, data) for data in (*halves, b"left out")))
    files: set[str] = set()
    for _ in range(2):
        done = await client.uploads.complete(upload.id, part_ids=[first, second], md5=hashlib.md5(DATA).hexdigest())
        assert done.status == "completed"
        assert done.file is not None
        assert (done.file.filename, done.file.purpose, done.file.bytes) == ("notes.txt", "user_data", len(DATA))
        files.add(done.file.id)
    (file,) = files
    assert (await client.files.content(file)).content == DATA
    assert [each.id async for each in client.files.list()] == [file]
    # What is left of it says that it is over, and has no bytes.
    store = FileStore(mesh.bus.core)
    assert await store.parts(LOCAL, Token(upload.id)) == [0, 1]
    stored = await store.find(LOCAL, Token(file))
    assert stored is not None
    assert stored.event.sha256 == hashlib.sha256(DATA).hexdigest()
    for call in (client.uploads.cancel(upload.id), client.uploads.complete(upload.id, part_ids=[second, first])):
        with pytest.raises(openai.ConflictError):
            await call
    with pytest.raises(openai.ConflictError):
        await add(client, upload, b"late")
    await client.files.delete(file)


async def test_a_cancelled_upload_is_over_and_leaves_no_bytes(mesh: InProcessMesh, client: openai.AsyncOpenAI) -> None:
    upload = await begin(client)
    part = await add(client, upload, DATA)
    assert (await client.uploads.cancel(upload.id)).status == "cancelled"
    assert await FileStore(mesh.bus.core).parts(LOCAL, Token(upload.id)) == [0, 1]
    with pytest.raises(openai.ConflictError):
        await client.uploads.complete(upload.id, part_ids=[part])
    assert (await client.uploads.cancel(upload.id)).status == "cancelled"


async def test_who_has_not_seen_that_somebody_else_completes_it_gets_the_same_file(
    mesh: InProcessMesh, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begin(client, 6)
    part = await add(client, upload, b"abcdef")
    done = await client.uploads.complete(upload.id, part_ids=[part])
    files, looks = FileStore(mesh.bus.core), 0
    find = files.find

    async def find_a_moment_ago(account: Token, file: Token) -> StoredFile | None:
        nonlocal looks
        looks += 1
        return None if looks == 1 else await find(account, file)

    monkeypatch.setattr(files, "find", find_a_moment_ago)
    wanted = Wanted(name="notes.txt", purpose="user_data", size_bytes=6)
    stored = await UploadStore(mesh.bus.core, files).make(LOCAL, Token(upload.id), wanted, Outcome(pieces=(1,)))
    assert done.file is not None
    assert (stored.id, stored.event.sha256) == (done.file.id, hashlib.sha256(b"abcdef").hexdigest())
    kept = await find(LOCAL, Token(done.file.id))
    assert kept == stored
    await client.files.delete(done.file.id)


async def test_pieces_that_do_not_fit_are_refused_and_the_upload_goes_on(client: openai.AsyncOpenAI) -> None:
    upload, other = await begin(client, 6), await begin(client)
    part, foreign = await add(client, upload, b"abc"), await add(client, other, b"abc")
    for ids in ([part], [part, part], [foreign], [f"{part}9"], ["part_x"], []):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.uploads.complete(upload.id, part_ids=ids)
        assert refused.value.param == "part_ids"
    second = await add(client, upload, b"def")
    with pytest.raises(openai.BadRequestError, match="MD5"):
        await client.uploads.complete(upload.id, part_ids=[second, part], md5="0" * 32)
    with pytest.raises(openai.APIStatusError) as too_large:
        await add(client, upload, b"seven b")
    assert too_large.value.status_code == 413
    done = await client.uploads.complete(upload.id, part_ids=[second, part])
    assert done.file is not None
    assert (await client.files.content(done.file.id)).content == b"defabc"


async def test_what_is_no_upload_is_refused_by_name(gateway: HttpGateway, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        await begin(client, LIMIT_BYTES + 1)
    assert refused.value.status_code == 413
    for name in ("upload_none", "x", f"upload_{'0' * 12}7{'0' * 3}8{'0' * 15}"):
        with pytest.raises(openai.NotFoundError):
            await client.uploads.cancel(name)
    good = {"filename": "a", "purpose": "batch", "bytes": 3, "mime_type": "text/plain"}
    soon = {"anchor": "created_at", "seconds": 60}
    wrong = {"filename": "", "purpose": "batch_output", "bytes": 0, "expires_after": soon}
    for field, value in wrong.items():
        answer = await gateway.post("/v1/uploads", {**good, field: value})
        param = (await answer.json())["error"]["param"]
        assert (answer.status, param.partition(".")[0]) == (400, field)


async def test_an_upload_whose_hour_is_over_is_cleared_away_by_the_next_one(
    mesh: InProcessMesh, client: openai.AsyncOpenAI
) -> None:
    files = FileStore(mesh.bus.core)
    store, old_ms = UploadStore(mesh.bus.core, files), now_ms() - LASTS_MS - 1
    late = await store.open(LOCAL, Wanted(name="a", purpose="batch", size_bytes=1), now_ms=old_ms)
    with pytest.raises(openai.ConflictError):
        await client.uploads.parts.create(late, data=b"a")
    assert await files.parts(LOCAL, late) == [0]
    begun = len([name for name in await files.names_with(LOCAL, 0) if name.startswith("upload_")]) - 1
    await begin(client)
    assert await files.parts(LOCAL, late) == []
    await asyncio.gather(*(begin(client) for _ in range(MOST_UPLOADS - begun - 1)))
    with pytest.raises(openai.ConflictError) as refused:
        await begin(client)
    assert refused.value.code == "too_many_uploads"
