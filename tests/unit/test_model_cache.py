"""Model files on a device's disk: which go when room is needed, and what is left of a fetch that broke off."""

import hashlib
import os
from pathlib import Path

import pytest

from nodes.errors import EngineUnavailable
from nodes.models import cache as model_cache
from nodes.models.cache import ModelCache


def name(letter: str) -> str:
    return letter * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def put(cache: ModelCache, letter: str, size: int, *, used_at: int) -> Path:
    part = cache.open_part(name(letter))
    assert part is not None
    part.add(bytes(size))
    part.finish()
    part.close()
    path = cache.hold(name(letter))
    cache.let_go(name(letter))
    assert path is not None
    os.utime(path, (used_at, used_at))
    return path


def test_the_least_used_files_go_first_and_only_as_many_as_needed(folder: Path) -> None:
    cache = ModelCache(folder, 100)
    old, middle, new = (put(cache, letter, 30, used_at=at) for letter, at in (("b", 1), ("a", 2), ("c", 3)))
    cache.make_room(name("d"), 40)
    assert [path.exists() for path in (old, middle, new)] == [False, True, True]


def test_use_makes_a_file_young_again(folder: Path) -> None:
    cache = ModelCache(folder, 100)
    used, unused = put(cache, "a", 40, used_at=1), put(cache, "b", 40, used_at=2)
    cache.hold(name("a"))
    cache.let_go(name("a"))
    cache.make_room(name("d"), 50)
    assert (used.exists(), unused.exists()) == (True, False)


def test_what_another_node_of_the_folder_uses_stays(folder: Path) -> None:
    mine, other = ModelCache(folder, 100), ModelCache(folder, 100)
    path = put(mine, "a", 60, used_at=1)
    other.hold(name("a"))
    with pytest.raises(EngineUnavailable, match=r"60 are in use, 100 may be kept \(model_disk\)"):
        mine.make_room(name("d"), 50)
    assert path.exists()
    other.let_go(name("a"))
    mine.make_room(name("d"), 50)
    assert not path.exists()


def test_what_can_never_fit_deletes_nothing(folder: Path) -> None:
    cache = ModelCache(folder, 100)
    path = put(cache, "a", 60, used_at=1)
    with pytest.raises(EngineUnavailable, match="raise model_disk"):
        cache.make_room(name("d"), 101)
    assert path.exists()


def test_a_full_disk_is_told_before_anything_is_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ModelCache(folder, 10**9)
    monkeypatch.setattr(model_cache, "_SPARE_BYTES", 1 << 62)
    with pytest.raises(EngineUnavailable, match="and the disk has"):
        cache.make_room(name("d"), 5)


def test_one_writes_a_file_at_a_time(folder: Path) -> None:
    cache, other = ModelCache(folder, 100), ModelCache(folder, 100)
    part = cache.open_part(name("a"))
    assert part is not None
    assert other.open_part(name("a")) is None
    part.close()
    again = other.open_part(name("a"))
    assert again is not None
    again.close()


@pytest.mark.parametrize(("left", "resumed"), [(0, 0), (9, 0), (10, 10), (25, 20), (33, 33), (40, 33)])
def test_a_fetch_goes_on_behind_the_whole_chunks_that_are_there(folder: Path, left: int, resumed: int) -> None:
    content = bytes(range(33))
    cache = ModelCache(folder, 100)
    folder.mkdir()
    (folder / f"{name('a')}.part").write_bytes((content + bytes(7))[:left])
    part = cache.open_part(name("a"))
    assert part is not None
    part.resume(10, len(content))
    assert part.size_bytes == resumed
    part.add(content[resumed:])
    assert part.sha256 == hashlib.sha256(content).hexdigest()
    part.finish()
    part.close()
    path = cache.hold(name("a"))
    assert path is not None
    assert path.read_bytes() == content
    cache.discard(name("a"))
    assert cache.hold(name("a")) is None


def test_a_file_that_is_finished_while_another_opens_it_is_not_written_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, other = ModelCache(folder, 100), ModelCache(folder, 100)
    part = cache.open_part(name("a"))
    assert part is not None
    part.add(b"whole")
    lock = model_cache.fcntl.flock

    def finish_first(descriptor: int, how: int) -> None:
        monkeypatch.undo()
        part.finish()
        part.close()
        lock(descriptor, how)

    monkeypatch.setattr(model_cache.fcntl, "flock", finish_first)
    assert other.open_part(name("a")) is None
    path = other.hold(name("a"))
    assert path is not None
    assert path.read_bytes() == b"whole"
