"""Files that hold a secret: whole, once, and for their owner alone."""

import os
import stat
import threading
from pathlib import Path

import pytest

from mesh.errors import CredentialsError
from mesh.secret_file import MAX_BYTES, read_secret, refuse_shared_folder, write_secret_once


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.key"
    before = os.umask(0)
    try:
        assert write_secret_once(path, b"secret")
    finally:
        os.umask(before)
    assert (mode_of(path), mode_of(path.parent), mode_of(path.parent.parent)) == (0o600, 0o700, 0o700)
    assert read_secret(path) == b"secret"
    assert [one.name for one in path.parent.iterdir()] == ["a.key"]


def test_the_first_writer_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    assert write_secret_once(path, b"first")
    assert not write_secret_once(path, b"second")
    assert read_secret(path) == b"first"


def test_of_many_writers_at_once_one_wins_and_the_file_is_whole(tmp_path: Path) -> None:
    path, barrier = tmp_path / "a.key", threading.Barrier(8)
    contents = [bytes([number]) * 20_000 for number in range(8)]
    won: list[bytes] = []

    def write(content: bytes) -> None:
        barrier.wait()
        if write_secret_once(path, content):
            won.append(content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [read_secret(path)]
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        write_secret_once(tmp_path / "file" / "a.key", b"secret")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o777])
def test_a_file_that_others_can_touch_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.key"
    write_secret_once(path, b"secret")
    path.chmod(mode)
    with pytest.raises(
        CredentialsError, match=rf"open to other users \(mode {mode:04o}\): chmod 600 {path}"
    ) as refused:
        read_secret(path)
    assert "secret" not in str(refused.value)


def test_a_folder_that_others_can_enter_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    refuse_shared_folder(folder)
    folder.chmod(0o750)
    with pytest.raises(CredentialsError, match=f"chmod 700 {folder}"):
        refuse_shared_folder(folder)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"a\.key does not exist: make one$"):
        read_secret(tmp_path / "a.key", if_missing="make one")
    with pytest.raises(CredentialsError, match=r"a\.key does not exist$"):
        read_secret(tmp_path / "a.key")
    with pytest.raises(CredentialsError, match="keys does not exist: make it"):
        refuse_shared_folder(tmp_path / "keys", if_missing="make it")


def test_a_folder_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="cannot read"):
        read_secret(tmp_path)


def test_a_file_longer_than_any_secret_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    write_secret_once(path, b"x" * (MAX_BYTES + 1))
    with pytest.raises(CredentialsError, match="longer than"):
        read_secret(path)
