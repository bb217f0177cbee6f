"""One suite for every index of passages."""

import math
import shutil
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from qdrant_client import AsyncQdrantClient

from gateway.errors import GatewayError
from gateway.retrieval.errors import IndexUnavailable, WrongVectors
from gateway.retrieval.index.faiss_folder import FaissFolder
from gateway.retrieval.index.index import Index, Match, Origin
from gateway.retrieval.index.open_index import open_index
from gateway.retrieval.index.qdrant_folder import QdrantFolder
from gateway.retrieval.index.qdrant_server import QdrantServer
from gateway.retrieval.index.words import Words
from gateway.retrieval.settings import RetrievalSettings
from streams.stores.passages import Passage, Place
from streams.tokens import Token
from tests.memory_folder import memory_folder

Open = Callable[[], Awaitable[Index]]

WORDS = Words()
APPLES, PEARS = Origin(Token("file-apples"), 1), Origin(Token("file-pears"), 2)
SHELF, OTHER = "alice.vs_1.0011223344556677", "bob.vs_2.0011223344556677"


def vector(*numbers: float) -> bytes:
    length = math.hypot(*numbers) or 1.0
    return struct.pack(f"<{len(numbers)}f", *[number / length for number in numbers])


def passage(number: int, text: str, *numbers: float) -> Passage:
    place = Place(first=number * 100, last=number * 100 + len(text), page=number + 1, heading=("Fruit", "Kinds"))
    return Passage(number=number, text=text, place=place, tokens=3, vector=vector(*numbers))


FRUIT = (
    passage(0, "Apples keep in a cool cellar.", 1, 0, 0),
    passage(1, "Pruning is done in February.", 0.8, 0.6, 0),
    passage(2, "The orchard has 40 trees.", 0, 1, 0),
)


def found(matches: tuple[Match, ...]) -> list[tuple[str, int]]:
    return [(match.origin.file, match.number) for match in matches]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with memory_folder() as folder:
        yield folder


@pytest.fixture(params=["qdrant-folder", "qdrant-server", "faiss-folder"])
def open_one(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    async def open_folder() -> Index:
        return QdrantFolder(tmp_path / "index", WORDS)

    async def open_server() -> Index:
        # No server can be had here: its own client's stand-in, which takes the same calls.
        return QdrantServer(AsyncQdrantClient(path=str(tmp_path / "server")), WORDS)

    async def open_faiss() -> Index:
        return FaissFolder(tmp_path / "index", WORDS)

    return {"qdrant-folder": open_folder, "qdrant-server": open_server, "faiss-folder": open_faiss}[request.param]


@pytest.fixture
async def index(open_one: Open) -> AsyncIterator[Index]:
    opened = await open_one()
    yield opened
    await opened.aclose()


async def test_the_most_like_vector_comes_first_with_all_that_was_added(index: Index) -> None:
    await index.add(SHELF, APPLES, FRUIT)

    best, second, last = await index.near(SHELF, vector(1, 0.1, 0), 5)

    assert found((best, second, last)) == [(APPLES.file, 0), (APPLES.file, 1), (APPLES.file, 2)]
    assert (best.text, best.place, best.origin) == (FRUIT[0].text, FRUIT[0].place, APPLES)
    assert best.score == pytest.approx(1 / math.hypot(1, 0.1), abs=2e-3)


async def test_words_are_found_whatever_their_ending_and_rare_ones_weigh_more(index: Index) -> None:
    more = tuple(passage(number, "An apple a day, and February.", 0, 0, 1) for number in range(3, 8))
    await index.add(SHELF, APPLES, FRUIT + more)

    matches = await index.worded(SHELF, "When are trees pruned in February?", 5)

    assert found(matches)[0] == (APPLES.file, 1)
    assert (APPLES.file, 2) in found(matches)
    assert (APPLES.file, 0) not in found(matches)


async def test_words_that_say_nothing_find_nothing(index: Index) -> None:
    await index.add(SHELF, APPLES, (*FRUIT, passage(3, "of the and", 0, 0, 1)))

    assert await index.worded(SHELF, "is it the", 5) == ()
    assert await index.worded(SHELF, "?!", 5) == ()
    assert len(await index.near(SHELF, vector(0, 0, 1), 9)) == 4


async def test_adding_twice_is_adding_once_and_the_later_counts(index: Index) -> None:
    await index.add(SHELF, APPLES, FRUIT)
    await index.add(SHELF, APPLES, (passage(1, "Pruning is done in March.", 0.8, 0.6, 0),))
    await index.add(SHELF, APPLES, FRUIT[2:])

    assert await index.held(SHELF) == {APPLES: 3}
    assert [match.number for match in await index.worded(SHELF, "March", 5)] == [1]
    assert await index.worded(SHELF, "February", 5) == ()


async def test_a_file_that_is_removed_is_found_no_more(index: Index) -> None:
    await index.add(SHELF, APPLES, FRUIT)
    await index.add(SHELF, PEARS, FRUIT[:1])

    await index.remove(SHELF, {APPLES})
    await index.remove(SHELF, {APPLES})
    await index.remove(OTHER, {APPLES})

    assert await index.held(SHELF) == {PEARS: 1}
    assert found(await index.near(SHELF, vector(1, 0, 0), 5)) == [(PEARS.file, 0)]
    assert found(await index.worded(SHELF, "cellar orchard", 5)) == [(PEARS.file, 0)]


async def test_a_shelf_that_is_dropped_is_empty_and_can_be_filled_anew(index: Index) -> None:
    await index.add(SHELF, APPLES, FRUIT)

    await index.drop(SHELF)
    await index.drop(SHELF)

    assert SHELF not in await index.shelves()
    assert await index.held(SHELF) == {}
    assert await index.near(SHELF, vector(1, 0, 0), 5) == ()
    assert await index.worded(SHELF, "cellar", 5) == ()
    # By another model, say.
    await index.add(SHELF, PEARS, (passage(0, "Quinces", 1, 0, 0, 0),))
    assert found(await index.near(SHELF, vector(1, 0, 0, 0), 5)) == [(PEARS.file, 0)]


async def test_shelves_know_nothing_of_each_other(index: Index) -> None:
    await index.add(SHELF, APPLES, FRUIT)
    await index.add(OTHER, APPLES, FRUIT[:1])

    assert await index.shelves() == {SHELF, OTHER}
    await index.remove(SHELF, {APPLES})
    assert await index.held(OTHER) == {APPLES: 1}
    await index.drop(OTHER)
    assert await index.shelves() == {SHELF}


async def test_only_what_is_asked_for_is_searched(index: Index) -> None:
    await index.add(SHELF, APPLES, FRUIT)
    await index.add(SHELF, PEARS, FRUIT)

    near = await index.near(SHELF, vector(1, 0, 0), 2, among={PEARS})

    assert found(near) == [(PEARS.file, 0), (PEARS.file, 1)]
    assert found(await index.worded(SHELF, "cellar", 5, among={PEARS})) == [(PEARS.file, 0)]
    assert await index.near(SHELF, vector(1, 0, 0), 5, among=()) == ()
    assert await index.worded(SHELF, "cellar", 5, among=()) == ()
    # Another generation of a file is another thing.
    assert await index.near(SHELF, vector(1, 0, 0), 5, among={APPLES._replace(generation=7)}) == ()


async def test_equals_come_by_file_and_number(index: Index) -> None:
    same = [passage(number, "Quinces", 1, 0, 0) for number in (4, 0, 3, 1)]
    await index.add(SHELF, PEARS, same)
    await index.add(SHELF, APPLES, same)

    expected = [(origin.file, number) for origin in (APPLES, PEARS) for number in (0, 1, 3, 4)]
    assert found(await index.near(SHELF, vector(1, 0, 0), 9)) == expected
    assert found(await index.worded(SHELF, "quince", 9)) == expected


async def test_vectors_of_another_length_are_refused(index: Index) -> None:
    await index.add(SHELF, APPLES, FRUIT)

    with pytest.raises(WrongVectors):
        await index.add(SHELF, PEARS, (passage(0, "Quinces", 1, 0),))
    with pytest.raises(WrongVectors):
        await index.near(SHELF, vector(1, 0), 5)
    assert await index.held(SHELF) == {APPLES: 3}


async def test_what_was_added_is_there_after_a_restart(open_one: Open) -> None:
    before = await open_one()
    await before.add(SHELF, APPLES, FRUIT)
    await before.add(SHELF, PEARS, FRUIT)
    await before.remove(SHELF, {APPLES})
    expected = await before.near(SHELF, vector(1, 0, 0), 5)
    await before.aclose()

    after = await open_one()

    assert await after.shelves() == {SHELF}
    assert await after.held(SHELF) == {PEARS: 3}
    again = await after.near(SHELF, vector(1, 0, 0), 5)
    assert [match._replace(score=0) for match in again] == [match._replace(score=0) for match in expected]
    assert [match.score for match in again] == pytest.approx([match.score for match in expected])
    assert found(await after.worded(SHELF, "cellar", 5)) == [(PEARS.file, 0)]
    await after.aclose()


async def test_a_server_that_is_away_is_said_to_be_and_its_key_is_not() -> None:
    index = QdrantServer.connect("http://127.0.0.1:1", "qdrant-key-1234", WORDS)
    with pytest.raises(IndexUnavailable, match="Qdrant server cannot be used now") as raised:
        await index.shelves()
    assert "1234" not in str(raised.value)
    await index.aclose()


@pytest.mark.parametrize("driver", [QdrantFolder, FaissFolder])
async def test_a_folder_has_one_user_at_a_time(driver: type[QdrantFolder] | type[FaissFolder], tmp_path: Path) -> None:
    index = driver(tmp_path / "index", WORDS)
    with pytest.raises(IndexUnavailable, match="another retrieval process uses"):
        driver(tmp_path / "index", WORDS)
    await index.aclose()
    await driver(tmp_path / "index", WORDS).aclose()


def damage_the_vectors(shelf: Path, folder: Path) -> None:
    (shelf / "passages.sqlite").write_bytes(b"no database" * 1000)


def forget_the_vectors(shelf: Path, folder: Path) -> None:
    (shelf / "passages.sqlite").write_bytes(b"")


def lose_the_vectors(shelf: Path, folder: Path) -> None:
    shutil.rmtree(shelf)


def lose_the_words(shelf: Path, folder: Path) -> None:
    shutil.rmtree(folder / "words" / SHELF)


@pytest.mark.parametrize("harm", [damage_the_vectors, forget_the_vectors, lose_the_vectors, lose_the_words])
async def test_what_faiss_has_lost_is_not_held_and_can_be_added_again(
    harm: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    before = FaissFolder(folder, WORDS)
    await before.add(SHELF, APPLES, FRUIT)
    await before.aclose()
    harm(folder / "vectors" / SHELF, folder)

    after = FaissFolder(folder, WORDS)

    assert sum((await after.held(SHELF)).values()) == 0
    await after.add(SHELF, APPLES, FRUIT)
    assert await after.held(SHELF) == {APPLES: 3}
    assert found(await after.near(SHELF, vector(1, 0, 0), 1)) == [(APPLES.file, 0)]
    assert found(await after.worded(SHELF, "cellar", 5)) == [(APPLES.file, 0)]
    await after.aclose()


@pytest.mark.parametrize(("first", "then"), [("qdrant", "faiss"), ("faiss", "qdrant")])
async def test_the_index_of_a_folder_can_be_changed_and_nothing_of_the_other_stays(
    first: Literal["qdrant", "faiss"], then: Literal["qdrant", "faiss"], tmp_path: Path
) -> None:
    before = open_index(RetrievalSettings(index=first), tmp_path)
    await before.add(SHELF, APPLES, FRUIT)
    await before.aclose()

    after = open_index(RetrievalSettings(index=then), tmp_path)

    for shelf in await after.shelves():
        assert await after.held(shelf) == {}
        await after.drop(shelf)
    assert not [path for path in (tmp_path / "index").rglob("*") if path.is_file() and path.name != "lock"]
    await after.aclose()


def test_without_faiss_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(GatewayError, match=r"pip install 'ig3-edge-network\[rag\]'"):
        open_index(RetrievalSettings(index="faiss"), tmp_path)


def test_faiss_and_a_qdrant_server_are_not_had_together() -> None:
    with pytest.raises(ValueError, match="leave one of them out"):
        RetrievalSettings(index="faiss", qdrant_url="http://127.0.0.1:6333")
