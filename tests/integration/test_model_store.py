"""The model store: pushed by an operator, fetched by a device that has no right to the Object Store."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.models import desk as model_desk
from gateway.models.desk import ModelDesk
from mesh.cli import root
from mesh.errors import ModelStoreError, RequestTimedOut
from mesh.models.objects import BUCKET, META_ALL, STREAM, chunk_subject, meta_subject, nuid_of, runs_of
from mesh.models.push import Push, sha256_of
from mesh.models.store import ModelStore
from nodes.engine import EngineSpec
from nodes.errors import EngineUnavailable
from nodes.models.cache import ModelCache
from nodes.models.loaded import LoadedModels
from nodes.models.pull import ModelPuller
from streams import subjects
from streams.codec import decode, encode
from streams.messages import Refusal
from streams.models.store import ChunkRequest, ModelOffer, ModelQuestion, StoredModel
from streams.tokens import Token
from tests.identity_in_process import connect_device
from tests.mesh_in_process import InProcessMesh
from tests.unit.gguf_files import VALUES, gguf, tensor

NODE = Token("n1")
CHUNK = 4096
PATIENCE = timedelta(seconds=30)


def gguf_of(weights: int, fill: int = 7) -> bytes:
    empty = gguf({**VALUES, "general.license": "apache-2.0"}, (tensor("t", (weights,), 0, 0),), 0)
    return empty + bytes([fill]) * (weights * 4)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "Tiny-Chat.Q4_1.gguf"
    path.write_bytes(gguf_of(10_000))
    return path


def described(file: Path, name: str = "tiny") -> StoredModel:
    size = file.stat().st_size
    return StoredModel(name=name, sha256=sha256_of(file, lambda _: None), size_bytes=size, chunk_bytes=CHUNK)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        desk = ModelDesk(await mesh.new_bus("models"))
        await desk.start()
        mesh.stack.push_async_callback(desk.stop)
        yield mesh


@pytest.fixture
async def store(mesh: InProcessMesh) -> ModelStore:
    store = ModelStore(mesh.bus.core)
    assert await store.list_all() == ()
    await store.make(1)
    return store


async def push(store: ModelStore, file: Path, name: str = "tiny") -> StoredModel:
    return (await Push(store, described(file, name), file).run(lambda _: None)).model


async def puller(mesh: InProcessMesh, folder: Path) -> ModelPuller:
    link = await connect_device(mesh.server, NODE)
    mesh.stack.push_async_callback(link.close)
    return ModelPuller(link, NODE, ModelCache(folder, 10**7))


async def pull(mesh: InProcessMesh, folder: Path, name: str = "tiny") -> bytes:
    return (await (await puller(mesh, folder)).pull(name, lambda _: None)).path.read_bytes()


async def test_a_model_goes_from_an_operator_to_a_device_byte_for_byte(
    mesh: InProcessMesh, store: ModelStore, file: Path, tmp_path: Path
) -> None:
    model = await push(store, file)
    assert [stored.model for stored in await store.list_all()] == [model]
    fractions: list[float] = []
    pulled = await (await puller(mesh, tmp_path / "a")).pull("tiny", fractions.append)
    assert pulled.path.read_bytes() == file.read_bytes()
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    # NATS's own client reads the same object, and checks its digest.
    bucket = await mesh.bus.core.client.jetstream().object_store(BUCKET)
    assert (await bucket.get("tiny")).data == file.read_bytes()


async def test_a_push_that_broke_off_goes_on_where_it_was(store: ModelStore, file: Path) -> None:
    model = described(file)
    subject = chunk_subject(nuid_of(model.name, model.sha256))
    whole = file.read_bytes()
    first = [await store.core.append(subject, whole[at : at + CHUNK]) for at in (0, CHUNK, 2 * CHUNK)]
    await store.core.append(chunk_subject("somebody-else"), b"between")
    stored = await Push(store, model, file).run(lambda _: None)
    assert [(run.first_sequence, run.count) for run in stored.runs] == [(first[0], 3), (first[2] + 2, model.chunks - 3)]
    assert [await store.chunk(stored, number) for number in range(model.chunks)] == [
        whole[at : at + CHUNK] for at in range(0, len(whole), CHUNK)
    ]


async def test_what_an_earlier_push_left_of_another_file_is_not_built_upon(store: ModelStore, file: Path) -> None:
    model = described(file)
    await store.core.append(chunk_subject(nuid_of(model.name, model.sha256)), b"no part of it")
    stored = await Push(store, model, file).run(lambda _: None)
    assert await store.chunk(stored, 0) == file.read_bytes()[:CHUNK]


async def test_a_push_without_room_says_what_to_do_and_stores_nothing(
    store: ModelStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def little(_: ModelStore) -> int:
        return file.stat().st_size

    monkeypatch.setattr(ModelStore, "room_bytes", little)
    with pytest.raises(ModelStoreError, match="a quarter stays free"):
        await push(store, file)
    assert await store.find("tiny") is None


async def test_a_new_file_takes_the_place_of_the_old_and_a_removed_one_is_gone(
    mesh: InProcessMesh, store: ModelStore, file: Path, tmp_path: Path
) -> None:
    old = await push(store, file)
    other = tmp_path / "other.gguf"
    other.write_bytes(gguf_of(10_000, fill=8))
    new = await push(store, other)
    assert await pull(mesh, tmp_path / "a") == other.read_bytes()
    link = await connect_device(mesh.server, NODE)
    request = ChunkRequest(name="tiny", sha256=old.sha256, number=0)
    answer = decode((await link.request(subjects.node_api(NODE, "chunk"), encode(request))).data, Refusal)
    assert (answer.code, answer.status) == ("model_changed", 409)
    request = ChunkRequest(name="tiny", sha256=new.sha256, number=new.chunks)
    answer = decode((await link.request(subjects.node_api(NODE, "chunk"), encode(request))).data, Refusal)
    assert answer.code == "invalid_value"
    await link.close()
    await store.remove("tiny")
    assert await store.list_all() == ()
    with pytest.raises(ModelStoreError, match="has no model 'tiny'"):
        await store.remove("tiny")
    with pytest.raises(EngineUnavailable, match="The model store has no 'tiny'"):
        await pull(mesh, tmp_path / "b")


async def test_an_object_that_is_not_ours_is_told_and_not_read(mesh: InProcessMesh, store: ModelStore) -> None:
    await store.core.append(meta_subject("foreign"), json.dumps({"name": "foreign", "nuid": "x"}).encode())
    with pytest.raises(ModelStoreError, match="was not put there by `ig3 models push`"):
        await store.find("foreign")
    with pytest.raises(EngineUnavailable, match="not put there"):
        await (await puller(mesh, mesh.folder)).pull("foreign", lambda _: None)


async def test_a_device_reaches_the_store_only_by_asking(mesh: InProcessMesh, store: ModelStore, file: Path) -> None:
    await push(store, file)
    link = await connect_device(mesh.server, NODE)
    query = json.dumps({"last_by_subj": META_ALL}).encode()
    with pytest.raises(RequestTimedOut):
        await link.request(f"$JS.API.DIRECT.GET.{STREAM}", query, timeout=timedelta(milliseconds=300))
    await link.close()


async def test_a_fetch_that_broke_off_goes_on_and_does_not_ask_for_what_it_has(
    mesh: InProcessMesh, store: ModelStore, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await push(store, file)
    read = ModelStore.chunk
    asked: list[int] = []

    async def breaking(self: ModelStore, stored: object, number: int) -> bytes | None:
        asked.append(number)
        if number >= 5 and len(asked) < 30:
            raise IndexError
        return await read(self, stored, number)  # pyright: ignore[reportArgumentType] - passed on as it came

    fetching = await puller(mesh, tmp_path / "a")
    with monkeypatch.context() as patched:
        patched.setattr("nodes.models.pull._TRIES", 1)
        patched.setattr(ModelStore, "chunk", breaking)
        with pytest.raises(EngineUnavailable, match="cannot be fetched"):
            await fetching.pull("tiny", lambda _: None)
    assert (tmp_path / "a" / f"{model.sha256}.part").stat().st_size == 5 * CHUNK
    asked.clear()

    async def counting(self: ModelStore, stored: object, number: int) -> bytes | None:
        asked.append(number)
        return await read(self, stored, number)  # pyright: ignore[reportArgumentType] - passed on as it came

    monkeypatch.setattr(ModelStore, "chunk", counting)
    assert (await fetching.pull("tiny", lambda _: None)).path.read_bytes() == file.read_bytes()
    assert sorted(asked) == list(range(5, model.chunks))


async def test_bytes_that_are_not_the_promised_file_are_deleted(
    mesh: InProcessMesh, store: ModelStore, file: Path, tmp_path: Path
) -> None:
    wrong = described(file)
    wrong = StoredModel(name="tiny", sha256="0" * 64, size_bytes=wrong.size_bytes, chunk_bytes=CHUNK)
    await Push(store, wrong, file).run(lambda _: None)
    with pytest.raises(EngineUnavailable, match=f"instead of {'0' * 64}: it was deleted"):
        await pull(mesh, tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []


async def test_a_file_that_is_no_sound_model_is_not_kept_whatever_its_hash_is(
    mesh: InProcessMesh, store: ModelStore, file: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:-8])
    await push(store, cut)
    with pytest.raises(EngineUnavailable, match="cut short"):
        await pull(mesh, tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []


async def test_a_file_that_was_damaged_on_the_disk_is_fetched_again(
    mesh: InProcessMesh, store: ModelStore, file: Path, tmp_path: Path
) -> None:
    await push(store, file)
    fetching = await puller(mesh, tmp_path / "a")
    pulled = await fetching.pull("tiny", lambda _: None)
    fetching.let_go(pulled.model)
    pulled.path.write_bytes(bytes(pulled.model.size_bytes))
    assert (await fetching.pull("tiny", lambda _: None)).path.read_bytes() == file.read_bytes()


async def test_a_device_has_so_many_chunks_under_way_and_the_rest_is_told_to_wait(
    mesh: InProcessMesh, store: ModelStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await push(store, file)
    may_go = asyncio.Event()
    read = ModelStore.chunk

    async def waiting(self: ModelStore, stored: object, number: int) -> bytes | None:
        await may_go.wait()
        return await read(self, stored, number)  # pyright: ignore[reportArgumentType] - passed on as it came

    monkeypatch.setattr(ModelStore, "chunk", waiting)
    link, other = await connect_device(mesh.server, NODE), await connect_device(mesh.server, Token("n2"))
    await link.request(subjects.node_api(NODE, "model"), encode(ModelQuestion(name="tiny")))
    chunk = encode(ChunkRequest(name="tiny", sha256=model.sha256, number=0))
    asked = [
        asyncio.create_task(link.request(subjects.node_api(NODE, "chunk"), chunk, timeout=PATIENCE))
        for _ in range(model_desk.CHUNKS_OF_A_DEVICE)
    ]
    await asyncio.sleep(0)
    refused = decode((await link.request(subjects.node_api(NODE, "chunk"), chunk)).data, Refusal)
    assert (refused.code, refused.status) == ("too_many_requests", 429)
    elsewhere = asyncio.create_task(other.request(subjects.node_api(Token("n2"), "chunk"), chunk, timeout=PATIENCE))
    offer = await other.request(subjects.node_api(Token("n2"), "model"), encode(ModelQuestion(name="tiny")))
    assert decode(offer.data, ModelOffer).model == model
    may_go.set()
    answers = await asyncio.gather(*asked, elsewhere)
    assert all(len(answer.data) > CHUNK for answer in answers)
    await link.close()
    await other.close()


async def test_a_node_loads_a_model_of_the_store_under_its_name(
    mesh: InProcessMesh, store: ModelStore, file: Path, tmp_path: Path
) -> None:
    await push(store, file)
    models = LoadedModels(await puller(mesh, tmp_path / "a"))
    served = await models.load(EngineSpec(engine="synthetic", model="store:tiny"))
    assert served.replica.model == "tiny"
    with pytest.raises(EngineUnavailable, match="no 'nowhere'"):
        await models.load(EngineSpec(engine="synthetic", model="store:nowhere"))
    await models.unload("tiny")
    await models.stop()
    with pytest.raises(EngineUnavailable, match="no model store"):
        await LoadedModels().load(EngineSpec(engine="synthetic", model="store:tiny"))


async def test_the_command_shows_what_a_file_is_and_refuses_what_is_none(
    mesh: InProcessMesh, file: Path, tmp_path: Path
) -> None:
    def ig3(*arguments: str) -> tuple[int, str]:
        place = ("--nats", str(mesh.server.address), "--data-dir", str(mesh.folder))
        result = CliRunner().invoke(root, ["models", *arguments, *place])
        return result.exit_code, result.output + str(result.exception or "")

    assert await asyncio.to_thread(ig3, "list") == (
        0,
        "MODEL  SIZE  ARCHITECTURE  QUANTISATION  CONTEXT  LICENCE  WANTED  SHA-256\n",
    )
    code, output = await asyncio.to_thread(ig3, "push", str(file))
    assert code == 0
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert all(word in output for word in ("tiny-chat\n", "llama", "Q4_1", "apache-2.0", digest, "4,096 tokens"))
    assert "has it already" in (await asyncio.to_thread(ig3, "push", str(file)))[1]
    assert digest in (await asyncio.to_thread(ig3, "show", "tiny-chat"))[1]
    assert "tiny-chat" in (await asyncio.to_thread(ig3, "list"))[1]
    scale = ("scale", "tiny-chat", "--min", "0", "--max", "3")
    for arguments, wanted in (
        (("place", "tiny-chat", "--replicas", "2", "--region", "eu", "--region", "us"), "2, only in eu, us "),
        (scale, "0 of 0 to 3, only in eu, us "),
        ((*scale, "--anywhere"), "0 of 0 to 3  "),
    ):
        assert await asyncio.to_thread(ig3, *arguments) == (0, "")
        assert wanted in (await asyncio.to_thread(ig3, "list"))[1]
    code, output = await asyncio.to_thread(ig3, *scale, "--region", "eu", "--anywhere")
    assert (code, "contradict each other" in output) == (2, True)
    code, output = await asyncio.to_thread(ig3, *scale, "--region", " eu")
    assert (code, "' eu' is no region" in output) == (2, True)
    assert (await asyncio.to_thread(ig3, "remove", "tiny-chat"))[0] == 0
    assert "has no model 'tiny-chat'" in (await asyncio.to_thread(ig3, "show", "tiny-chat"))[1]
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"PK\x03\x04" + bytes(60))
    code, output = await asyncio.to_thread(ig3, "push", str(broken))
    assert code == 1
    assert "does not begin with GGUF" in output


def test_sequences_without_gaps_are_one_run() -> None:
    assert [(run.first_sequence, run.count) for run in runs_of([3, 4, 5, 9, 11, 12])] == [(3, 3), (9, 1), (11, 2)]
