"""Files taken into vector stores on a real mesh: once, whatever dies, and never what nobody wants any more."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from gateway.retrieval.ingesting import intake
from gateway.retrieval.ingesting.ingester import Ingester
from gateway.retrieval.ingesting.means import open_means
from gateway.retrieval.ingesting.splitting import Split
from gateway.retrieval.passage_log import PassageLog
from gateway.retrieval.settings import RetrievalSettings
from gateway.retrieval.store_log import StoreLog
from mesh.access.writer import AccessWriter
from mesh.bus.service_bus import Bus
from mesh.cli import root
from mesh.files.store import FileStore
from mesh.history.stream_facts import last_message
from mesh.inspection.account_erasure import AccountErasure
from streams.stores.events import (
    Chunking,
    StoreClosed,
    StoreEvent,
    StoreExpired,
    StoreFileAdded,
    StoreFileRemoved,
    StoreOpened,
)
from streams.stores.fold import StoreFile, StoreState
from streams.stores.passages import Passage
from streams.stores.subjects import StoreKey, passages_of_store
from streams.tokens import Token
from streams.topology import ENDED, stream_specs
from tests.mesh_in_process import InProcessMesh
from tests.number_engine import LONGEST, MODEL, NumberEngine, vector_of

ACME = Token("acme")
LIMIT_S = 60
SETTINGS = RetrievalSettings(passage_tokens=16, passage_overlap=0, files_at_once=4)
LONG = "\n\n".join(f"Passage {number} says that {number} is a number, and nothing else." for number in range(200))


class Shelf:
    """A mesh whose stores are looked at and written as the API would."""

    def __init__(self, mesh: InProcessMesh) -> None:
        self.mesh = mesh
        self.stores = StoreLog(mesh.bus.core)
        self.passages = PassageLog(mesh.bus.core)
        self.files = FileStore(mesh.bus.core)

    async def put(self, text: str | bytes, account: Token = ACME, name: str = "a.txt") -> Token:
        async def data() -> AsyncIterator[bytes]:
            yield text if isinstance(text, bytes) else text.encode()

        return Token((await self.files.put(account, name, "assistants", data(), limit_bytes=10_000_000)).id)

    async def open(self, account: Token = ACME, model: str = MODEL) -> StoreKey:
        return (await self.stores.open(account, StoreOpened(at_ms=1, model=model))).key

    def command(self, *arguments: str) -> list[str]:
        """``ig3 rag`` for this mesh and account."""
        where = ["--nats", self.mesh.server.url.removeprefix("nats://"), "--data-dir", str(self.mesh.folder)]
        return ["rag", *arguments, "--account", ACME, *where]

    async def note(self, key: StoreKey, event: StoreEvent) -> StoreState:
        standing = await self.stores.note(key, lambda _: event)
        assert standing is not None
        return standing.state

    async def add(self, key: StoreKey, *files: Token, chunking: Chunking | None = None) -> None:
        for file in files:
            await self.note(key, StoreFileAdded(at_ms=1, file=file, filename="a.txt", chunking=chunking))

    async def until(self, key: StoreKey, is_so: Callable[[StoreState], bool]) -> StoreState:
        async with asyncio.timeout(LIMIT_S):
            while True:
                standing = await self.stores.find(key)
                if standing is not None and is_so(standing.state):
                    return standing.state
                await asyncio.sleep(0.05)

    async def ended(self, key: StoreKey, file: Token) -> StoreFile:
        return (await self.until(key, lambda state: state.files[file].status != "in_progress")).files[file]

    async def found(self, key: StoreKey) -> list[Passage]:
        """All passages that count, in the order of their subjects."""
        standing = await self.stores.find(key)
        assert standing is not None
        batches = [
            await self.passages.get(held)
            for held in await self.passages.held(passages_of_store(key))
            if standing.state.counts(held.file, held.generation)
        ]
        return [passage for batch in batches if batch is not None for passage in batch.passages]

    async def until_held(self, key: StoreKey, is_so: Callable[[int], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while True:
                if is_so(len(await self.passages.held(passages_of_store(key)))):
                    return
                await asyncio.sleep(0.02)

    async def until_refused(self) -> None:
        """Wait until a task of the account has ended."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                if await last_message(self.mesh.bus.core, ENDED, f"ended.*.{ACME}.*") is not None:
                    return
                await asyncio.sleep(0.02)

    def texts_of_tasks(self, *engines: NumberEngine) -> list[str]:
        return sorted(text for engine in engines for request in engine.embedded for text in request)


@asynccontextmanager
async def ingesting(shelf: Shelf, name: str = "r1", settings: RetrievalSettings = SETTINGS) -> AsyncIterator[Bus]:
    """One retrieval process's part, on a bus of its own."""
    bus = await shelf.mesh.new_bus(name)
    await bus.follow()
    ingester = Ingester(bus.core, open_means(bus, settings, timedelta(days=1)), later=timedelta(milliseconds=50))
    await ingester.start()
    try:
        yield bus
    finally:
        await ingester.stop()


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        await running.add_dispatcher()
        yield Shelf(running)


async def test_a_file_is_found_as_passages_with_the_vectors_of_their_texts(shelf: Shelf) -> None:
    await shelf.mesh.add_node(engine=NumberEngine(), interval_s=5)
    key, file = await shelf.open(), await shelf.put(LONG)
    async with ingesting(shelf):
        await shelf.add(key, file)
        stored = await shelf.ended(key, file)
    assert (stored.status, stored.fault) == ("completed", None)
    passages = await shelf.found(key)
    assert [passage.number for passage in passages] == list(range(len(passages)))
    assert all(passage.text == LONG[passage.place.first : passage.place.last] for passage in passages)
    assert [passage.vector for passage in passages] == [vector_of(passage.text) for passage in passages]
    indexed = stored.indexed
    assert indexed is not None
    assert (indexed.passages, indexed.characters, indexed.model) == (len(passages), len(LONG), MODEL)
    assert indexed.parts == len(await shelf.passages.held(passages_of_store(key)))


async def test_two_who_take_files_in_share_them_and_do_nothing_twice(shelf: Shelf) -> None:
    engine = NumberEngine()
    await shelf.mesh.add_node(engine=engine, interval_s=5)
    key = await shelf.open()
    texts = [f"Text {number}\n\n{LONG[:2000]}" for number in range(6)]
    async with ingesting(shelf, "r1"), ingesting(shelf, "r2"):
        files = [await shelf.put(text) for text in texts]
        await shelf.add(key, *files)
        for file in files:
            assert (await shelf.ended(key, file)).status == "completed"
    passages = await shelf.found(key)
    assert shelf.texts_of_tasks(engine) == sorted(passage.text for passage in passages)


async def test_one_who_dies_in_the_middle_is_followed_by_another_that_asks_nothing_twice(shelf: Shelf) -> None:
    engine = NumberEngine()
    # Two requests make a group, of which two are on their way at a time: two groups will be there, and not the seventh.
    engine.stop_after = 6
    await shelf.mesh.add_node(engine=engine, interval_s=5)
    key, file = await shelf.open(), await shelf.put(LONG)
    async with ingesting(shelf, "r1") as bus:
        await shelf.add(key, file)
        await shelf.until_held(key, lambda held: held >= 2)
        # Its connections are cut, as by a kill: nothing is handed back.
        await bus.close()
    standing = await shelf.stores.find(key)
    assert standing is not None
    assert standing.state.files[file].status == "in_progress"
    engine.go.set()
    async with ingesting(shelf, "r2"):
        assert (await shelf.ended(key, file)).status == "completed"
    passages = await shelf.found(key)
    assert [passage.number for passage in passages] == list(range(len(passages)))
    assert shelf.texts_of_tasks(engine) == sorted(passage.text for passage in passages)


async def test_a_file_waits_for_a_node_and_fails_when_nobody_ever_has_its_model(shelf: Shelf) -> None:
    key, file, other = await shelf.open(), await shelf.put("Hello"), await shelf.open(model="no-such-model")
    impatient = replace(SETTINGS, model_patience=timedelta(0))
    async with ingesting(shelf, settings=replace(SETTINGS, model_patience=timedelta(hours=1))):
        await shelf.add(key, file)
        await shelf.until_refused()
        standing = await shelf.stores.find(key)
        assert standing is not None
        assert standing.state.files[file].status == "in_progress"
    await shelf.mesh.add_node(engine=NumberEngine(), interval_s=5)
    async with ingesting(shelf, "r2", impatient):
        assert (await shelf.ended(key, file)).status == "completed"
        await shelf.add(other, file)
        fault = (await shelf.ended(other, file)).fault
    assert fault is not None
    assert (fault.code, "'no-such-model'" in fault.message) == ("model_not_found", True)


async def test_files_that_cannot_be_taken_in_fail_by_name_and_leave_nothing(shelf: Shelf) -> None:
    await shelf.mesh.add_node(engine=NumberEngine(), interval_s=5)
    key = await shelf.open()
    binary, large, gone = await shelf.put(bytes(5000)), await shelf.put("x" * 2001), await shelf.put("Hello")
    assert await shelf.files.delete(ACME, gone)
    async with ingesting(shelf, settings=replace(SETTINGS, document_limit=5000, document_chars=2000)):
        await shelf.add(key, binary, large, gone)
        faults = [(await shelf.ended(key, file)).fault for file in (binary, large, gone)]
    codes = [None if fault is None else fault.code for fault in faults]
    assert codes == ["unsupported_file", "document_too_large", "file_not_found"]
    assert await shelf.passages.held(passages_of_store(key)) == []


async def test_a_fault_of_our_own_is_tried_again_and_then_fails_the_file(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    async def broken(name: str, *_: object) -> Split:
        tried.append(name)
        raise RuntimeError("a fault")

    monkeypatch.setattr(intake, "parse_document", broken)
    key, file = await shelf.open(), await shelf.put("Hello")
    async with ingesting(shelf):
        await shelf.add(key, file)
        fault = (await shelf.ended(key, file)).fault
    assert (fault is not None and fault.code, len(tried)) == ("ingestion_failed", 3)


async def test_passages_that_the_model_cannot_read_are_made_shorter(shelf: Shelf) -> None:
    await shelf.mesh.add_node(engine=NumberEngine(), interval_s=5)
    key, file = await shelf.open(), await shelf.put("word " * LONGEST)
    async with ingesting(shelf):
        await shelf.add(key, file, chunking=Chunking(most_tokens=4096, overlap_tokens=2048))
        stored = await shelf.ended(key, file)
    assert stored.status == "completed"
    assert max(len(passage.text) for passage in await shelf.found(key)) <= LONGEST


async def test_what_is_removed_closed_expired_or_erased_while_it_is_taken_in_leaves_nothing(shelf: Shelf) -> None:
    slow = NumberEngine(pause_s=0.05)
    await shelf.mesh.add_node(engine=slow, interval_s=5)
    file = await shelf.put(LONG)
    async with ingesting(shelf):
        ends = (StoreFileRemoved(at_ms=2, file=file), StoreClosed(at_ms=2), StoreExpired(at_ms=2))
        for end in ends:
            key = await shelf.open()
            await shelf.add(key, file)
            await shelf.until_held(key, lambda held: held >= 1)
            await shelf.note(key, end)
            await shelf.until_held(key, lambda held: held == 0)
        erased = await shelf.open()
        await shelf.add(erased, file)
        assert (await shelf.ended(erased, file)).status == "completed"
        await shelf.mesh.all_acknowledged("batch")
        await (await AccountErasure.begin(shelf.mesh.bus, ACME, stream_specs())).run()
        await shelf.until_held(erased, lambda held: held == 0)
    assert await shelf.stores.find(erased) is None


async def test_files_of_an_account_that_is_closed_fail(shelf: Shelf) -> None:
    await shelf.mesh.add_node(engine=NumberEngine(), interval_s=5)
    writer = AccessWriter(shelf.mesh.bus.core)
    await writer.open(ACME)
    key, file = await shelf.open(), await shelf.put("Hello")
    await writer.close(ACME, reason="the end")
    async with ingesting(shelf):
        await shelf.add(key, file)
        fault = (await shelf.ended(key, file)).fault
    assert fault is not None
    assert fault.code == "account_closed"


async def test_a_store_is_embedded_anew_and_the_old_passages_go_when_the_new_are_there(shelf: Shelf) -> None:
    engine = NumberEngine()
    await shelf.mesh.add_node(engine=engine, interval_s=5)
    key, files = await shelf.open(), [await shelf.put(f"Text {number}") for number in range(3)]
    async with ingesting(shelf):
        await shelf.add(key, *files)
        for file in files:
            await shelf.ended(key, file)
        before = await shelf.passages.held(passages_of_store(key))
        done = await asyncio.to_thread(CliRunner().invoke, root, shelf.command("reembed", "--store", key.store))
        assert (done.exit_code, done.stdout) == (0, f"3 files are embedded by {MODEL}.\n")
        anew = (await shelf.ended(key, files[0])).wanted
        state = await shelf.until(key, lambda state: all(state.counts(file, anew) for file in files))
        assert not any(state.counts(held.file, held.generation) for held in before)
        await shelf.until_held(key, lambda held: held == len(files))
    assert {held.generation for held in await shelf.passages.held(passages_of_store(key))} == {anew}
    assert len(shelf.texts_of_tasks(engine)) == 2 * len(files)
