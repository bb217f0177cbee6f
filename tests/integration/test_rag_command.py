"""`ig3 rag` against a mesh: files are taken in once, replaced when they change, found, listed and removed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from gateway.retrieval.store_log import StoreLog
from mesh.cli import root
from mesh.files.store import FileStore
from mesh.processes.terminal import Invocation
from streams.access.fold import LOCAL
from streams.stores import subjects as store_subjects
from streams.stores.events import StoreOpened
from tests.played_retrieval import PlayedRetrieval, found, played_retrieval
from tests.scripted_mesh import ScriptedMesh, scripted_mesh

pytestmark = pytest.mark.usefixtures("patient_answers")


class Place(NamedTuple):
    """A mesh whose retrieval is played."""

    mesh: ScriptedMesh
    retrieval: PlayedRetrieval

    async def run(self, command: str, *arguments: str | Path) -> Result:
        """Give a command, as a shell would."""
        where = ["--nats", self.mesh.url.removeprefix("nats://"), "--data-dir", str(self.mesh.folder)]
        call: list[str] = ["rag", command, *map(str, arguments), *where]
        nothing = Invocation(config=None, colour=False)
        return await asyncio.to_thread(CliRunner().invoke, root, call, obj=nothing)

    async def ok(self, command: str, *arguments: str | Path) -> str:
        """The same, which must succeed."""
        done = await self.run(command, *arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    async def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """What there is."""
        return [json.loads(line) for line in (await self.ok("list", "--json", *arguments)).splitlines()]

    async def kept(self) -> list[str]:
        """The names of the account's files."""
        return sorted(file.event.name for file in await FileStore(self.mesh.bus.core).list_all(LOCAL))


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.chdir(tmp_path)
    async with scripted_mesh(tmp_path / "mesh") as mesh, played_retrieval(mesh.bus.core) as retrieval:
        listener = await mesh.bus.core.listen(store_subjects.stores_of(LOCAL), retrieval.take_in)
        yield Place(mesh, retrieval)
        await listener.close()


async def test_files_are_taken_in_once_replaced_and_removed(place: Place, tmp_path: Path) -> None:
    here, below = tmp_path / "a.md", tmp_path / "docs" / "a.md"
    below.parent.mkdir()
    here.write_text("one")
    below.write_text("two")
    assert (await place.ok("add", here, below)).split() == ["added", "a.md", "added", "docs/a.md"]
    here.write_text("three")
    assert (await place.ok("add", "a.md", below)).split() == ["replaced", "a.md", "unchanged", "docs/a.md"]
    files = await place.listed("--store", "files")
    assert sorted(file["filename"] for file in files) == await place.kept() == ["a.md", "docs/a.md"]
    (store,) = await place.listed()
    assert (store["name"], store["file_counts"]["completed"]) == ("files", 2)
    assert "completed" in await place.ok("list", "--store", store["id"])
    await place.ok("add", "a.md", "--store", "other", "--model", "m")
    await place.ok("remove", "docs/a.md", "a.md")
    assert await place.listed("--store", "files") == []
    assert await place.kept() == ["a.md"], "what another store has of its own stays"
    gone = await place.run("remove", "a.md")
    assert (gone.exit_code, "no file 'a.md'" in str(gone.exception)) == (1, True)


async def test_what_cannot_be_taken_in_leaves_nothing_and_what_was_there_stays(place: Place, tmp_path: Path) -> None:
    (tmp_path / "bad.pdf").write_text("no PDF")
    (tmp_path / "good.md").write_text("good")
    done = await place.run("add", "bad.pdf", "good.md")
    assert (done.exit_code, done.stdout.split()) == (1, ["added", "good.md"])
    assert "bad.pdf: It cannot be read." in done.stderr
    assert [file["filename"] for file in await place.listed("--store", "files")] == await place.kept() == ["good.md"]


async def test_a_name_whose_store_has_expired_gets_a_new_one(place: Place, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("one")
    old = StoreOpened(at_ms=0, model="m", name="files", expires_after_days=1)
    expired = (await StoreLog(place.mesh.bus.core).open(LOCAL, old)).key.store
    refused = await place.run("add", "a.md", "--store", expired)
    assert (refused.exit_code, "has expired" in refused.stderr) == (1, True)
    assert await place.kept() == []
    await place.ok("add", "a.md")
    (file,) = await place.listed("--store", "files")
    assert file["filename"] == "a.md"
    assert [store["name"] for store in await place.listed()] == ["files", "files"]


async def test_a_search_shows_where_passages_stand(place: Place, tmp_path: Path) -> None:
    (tmp_path / "sea.md").write_text("salt")
    await place.ok("add", "sea.md")
    place.retrieval.found = (found("The sea\nis salty. " * 40, filename="sea.md", score=0.75),)
    told = await place.ok("search", "why salty?", "--limit", "1")
    assert told.startswith("1. sea.md, page 2, Top (characters 10 to ")
    assert "0.75)\n   The sea is salty." in told
    assert told.rstrip().endswith("...")
    (hit,) = (json.loads(line) for line in (await place.ok("search", "why salty?", "--json")).splitlines())
    assert (hit["filename"], hit["place"]["page"]) == ("sea.md", 2)
    unknown = await place.run("search", "x", "--store", "nobody")
    assert "ig3 rag list" in str(unknown.exception)
