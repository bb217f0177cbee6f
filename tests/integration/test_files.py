"""Files over HTTP, by OpenAI's own client: put, listed, read, deleted; and what is no file is refused by name."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from aiohttp import FormData

from gateway.files.expiry import Expiry
from gateway.http.site import SITE
from mesh.access.writer import AccessWriter
from mesh.errors import BusError, RequestTimedOut
from mesh.files.store import FileStore
from mesh.inspection.account_erasure import AccountErasure
from streams.clock import now_ms
from streams.files.events import PART_BYTES
from streams.tokens import Token
from streams.topology import stream_specs
from tests.http_gateway import HttpGateway, serve_http
from tests.mesh_in_process import InProcessMesh

ACME = Token("acme")
LIMIT_BYTES = 3 * PART_BYTES
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        yield running


@pytest.fixture
async def gateway(mesh: InProcessMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus, file_limit=LIMIT_BYTES) as serving:
        yield serving


@pytest.fixture
async def client(gateway: HttpGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as connected:
        yield connected


async def test_a_file_is_what_was_put_there_until_it_is_deleted(
    mesh: InProcessMesh, client: openai.AsyncOpenAI
) -> None:
    data = hashlib.shake_256(b"seed").digest(2 * PART_BYTES + 17)
    made = await client.files.create(file=("Fragen 世界.bin", data), purpose="batch")
    assert (made.bytes, made.filename, made.purpose, made.status) == (
        len(data),
        "Fragen 世界.bin",
        "batch",
        "processed",
    )
    assert (await client.files.retrieve(made.id)).id == made.id
    assert [file.id async for file in client.files.list()] == [made.id]
    assert [file.id async for file in client.files.list(purpose="user_data")] == []
    assert (await client.files.content(made.id)).content == data
    store = FileStore(mesh.bus.core)
    assert await store.parts(Token("local"), Token(made.id)) == [0, 1, 2]
    assert (await client.files.delete(made.id)).deleted
    assert await store.parts(Token("local"), Token(made.id)) == []
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            await call(made.id)
    assert [file.id async for file in client.files.list()] == []


async def test_bytes_that_could_not_be_deleted_go_when_it_is_deleted_again_and_two_may_do_so_at_once(
    mesh: InProcessMesh, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await client.files.create(file=("a", bytes(2 * PART_BYTES)), purpose="user_data")
    store, name = FileStore(mesh.bus.core), Token(made.id)

    async def stand_still(*_: object) -> None:
        raise RequestTimedOut("no answer in time")

    with monkeypatch.context() as patch:
        patch.setattr("mesh.files.store.delete_message", stand_still)
        with pytest.raises(openai.InternalServerError):
            await client.files.delete(made.id)
    assert await store.parts(Token("local"), name) == [0, 1]
    assert await asyncio.gather(*(store.delete(Token("local"), name) for _ in range(4))) == [False] * 4
    assert await store.parts(Token("local"), name) == []


async def test_a_file_over_the_limit_is_refused_and_leaves_nothing(
    mesh: InProcessMesh, gateway: HttpGateway, client: openai.AsyncOpenAI
) -> None:
    whole = await client.files.create(file=("whole", bytes(LIMIT_BYTES)), purpose="user_data")
    assert whole.bytes == LIMIT_BYTES
    with pytest.raises(openai.APIStatusError) as refused:
        await client.files.create(file=("more", bytes(LIMIT_BYTES + 1)), purpose="user_data")
    assert refused.value.status_code == 413
    facts = await mesh.bus.core.request("$JS.API.STREAM.INFO.FILE_PARTS", b"")
    assert b'"messages":3' in facts.data.replace(b" ", b"")
    await client.files.delete(whole.id)


async def test_a_file_that_expires_is_nobodys_from_then_on_and_its_bytes_go(
    mesh: InProcessMesh, gateway: HttpGateway, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await client.files.create(file=("kept", b"x"), purpose="user_data")
    made = await client.files.create(
        file=("brief", b"abc"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert (made.expires_at, kept.expires_at) == (made.created_at + 3600, None)
    upload = await client.uploads.create(
        filename="later",
        purpose="batch",
        bytes=1,
        mime_type="text/plain",
        expires_after={"anchor": "created_at", "seconds": 7200},
    )
    part = await client.uploads.parts.create(upload.id, data=b"x")
    later = (await client.uploads.complete(upload.id, part_ids=[part.id])).file
    assert later is not None
    assert later.expires_at == later.created_at + 7200

    store, site = FileStore(mesh.bus.core), gateway.server._app[SITE]
    assert await Expiry(site, store).sweep() == 0
    monkeypatch.setattr("mesh.files.store.now_ms", lambda: now_ms() + 3_600_001)
    monkeypatch.setattr("gateway.files.expiry.now_ms", lambda: now_ms() + 3_600_001)
    with pytest.raises(openai.NotFoundError):
        await client.files.content(made.id)
    assert [file.id async for file in client.files.list()] == [later.id, kept.id]
    assert await store.parts(Token("local"), Token(made.id)) == [0]
    assert await Expiry(site, store).sweep() == 1
    assert await store.parts(Token("local"), Token(made.id)) == []
    assert await Expiry(site, store).sweep() == 0
    assert (await client.files.content(kept.id)).content == b"x"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([("file", b"x", "name")], "purpose"),
        ([("purpose", b"batch", None), ("other", b"x", "name")], "file"),
        ([("purpose", b"fine-tune", None), ("file", b"x", "name")], "purpose"),
        ([("purpose", b"batch_output", None), ("file", b"x", "name")], "purpose"),
        ([("purpose", b"batch", None), ("file", b"x", "a" * 600)], "file"),
        ([("purpose", b"x" * 5000, None), ("file", b"x", "name")], "purpose"),
        ([("purpose", b"batch", None), (SECONDS, b"3600", None), ("file", b"x", "name")], ANCHOR),
        ([("purpose", b"batch", None), (ANCHOR, b"created_at", None), ("file", b"x", "name")], SECONDS),
        (
            [("purpose", b"batch", None), (ANCHOR, b"created_at", None), (SECONDS, b"60", None), ("file", b"x", "a")],
            SECONDS,
        ),
    ],
    ids=[
        *("no-purpose", "no-file", "unknown-purpose", "ours-alone", "long-name", "long-purpose"),
        *("no-anchor", "no-seconds", "too-soon"),
    ],
)
async def test_what_is_no_upload_is_refused_by_name(
    gateway: HttpGateway, fields: list[tuple[str, bytes, str | None]], param: str
) -> None:
    form = FormData()
    for name, data, filename in fields:
        form.add_field(name, data if filename else data.decode(), filename=filename)
    async with gateway.session.post(f"{gateway.url}/v1/files", data=form) as answer:
        body = await answer.json()
    assert (answer.status, body["error"]["param"]) == (400, param)


async def test_a_body_that_is_no_form_is_refused(gateway: HttpGateway) -> None:
    answer = await gateway.post("/v1/files", {"purpose": "batch"})
    assert (answer.status, (await answer.json())["error"]["code"]) == (415, "unsupported_media_type")
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    async with gateway.session.post(f"{gateway.url}/v1/files", data=b"--y\r\n", headers=broken) as refused:
        assert refused.status == 400


async def test_another_accounts_file_is_nobodys(mesh: InProcessMesh) -> None:
    writer = AccessWriter(mesh.bus.core)
    await writer.open(ACME)
    issued = await writer.issue(ACME, name="k", rights=("chat", "read"))
    async with serve_http(mesh.bus) as gateway:
        await gateway.access.reach(issued.sequence)
        url = f"{gateway.url}/v1"
        async with (
            openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as ours,
            openai.AsyncOpenAI(base_url=url, api_key=issued.shown.text, max_retries=0) as theirs,
        ):
            made = await ours.files.create(file=("a", b"secret"), purpose="user_data")
            for call in (theirs.files.retrieve, theirs.files.content, theirs.files.delete):
                with pytest.raises(openai.NotFoundError):
                    await call(made.id)
            assert [file.id async for file in theirs.files.list()] == []
            assert (await ours.files.content(made.id)).content == b"secret"


async def test_a_part_that_is_written_twice_stays_as_it_was(mesh: InProcessMesh) -> None:
    store, account, file = FileStore(mesh.bus.core), Token("local"), Token("file-a")
    for data in (b"first", b"second"):
        await store.put_part(account, file, 7, data)
    assert (await store.parts(account, file), await store.part(account, file, 7)) == ([7], b"first")
    with pytest.raises(BusError, match="part 8 of file-a is not there"):
        await store.part(account, file, 8)


async def test_an_account_that_is_erased_has_no_files_left(mesh: InProcessMesh) -> None:
    store = FileStore(mesh.bus.core)

    async def data() -> AsyncIterator[bytes]:
        yield b"secret"
        await asyncio.sleep(0)

    stored = await store.put(ACME, "a", "user_data", data(), limit_bytes=100)
    assert await store.find(ACME, Token(stored.id)) is not None
    erasure = await AccountErasure.begin(mesh.bus, ACME, stream_specs())
    await erasure.run()
    assert (await store.list_all(ACME), await store.parts(ACME, Token(stored.id))) == ((), [])
