"""Model files of the store on this device's disk: named by their hash, the least used go when room is needed.

Nodes that share a data folder share the files. Who uses one holds a lock on it, shared; who writes one holds it alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Final

from nodes.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODELS_FOLDER: Final = "models"
"""Where in the data folder they are."""

_READ_BYTES: Final = 4 << 20
_WHOLE: Final = ".gguf"
_PART: Final = ".part"
_SPARE_BYTES: Final = 64 * 1024 * 1024
"""What a disk keeps free, whatever the limit says."""


class ModelCache:
    """The files in one folder, together never more than a limit."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """Use ``folder``, which is made when it is needed."""
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._held: dict[str, int] = {}

    def hold(self, sha256: str) -> Path | None:
        """Use a file until ``let_go``: it is not deleted meanwhile. None: it is not here.

        Its content is not believed by this: whoever loads it compares the hash first.
        """
        path = self._path(sha256, _WHOLE)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not _is_at(path, descriptor):  # it was deleted between opening and locking it
            os.close(descriptor)
            return None
        self.let_go(sha256)
        self._held[sha256] = descriptor
        with contextlib.suppress(OSError):  # the order of use is all that is lost
            os.utime(path)
        return path

    def let_go(self, sha256: str) -> None:
        """Use a file no more; it stays until its room is needed."""
        descriptor = self._held.pop(sha256, None)
        if descriptor is not None:
            os.close(descriptor)

    def discard(self, sha256: str) -> None:
        """Delete a file that is not what its name says."""
        self.let_go(sha256)
        self._path(sha256, _WHOLE).unlink(missing_ok=True)

    def open_part(self, sha256: str) -> Part | None:
        """Begin, or go on with, writing a file; None: another process writes it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(sha256, _PART)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if not _is_at(path, descriptor):  # it was finished or deleted between opening and locking it
            os.close(descriptor)
            return None
        return Part(path, descriptor, self._path(sha256, _WHOLE))

    def make_room(self, sha256: str, size_bytes: int) -> None:
        """Delete what was not used for longest and is not in use, until a file of this size fits beside the rest.

        Raises:
            EngineUnavailable: it does not fit, whatever is deleted; the message says what to change.
        """
        if size_bytes > self._limit_bytes:
            raise EngineUnavailable(
                f"the model has {size_bytes:,} bytes, this node keeps {self._limit_bytes:,} at most: raise model_disk"
            )
        others = [file for file in self._files() if file.stem != sha256]
        kept = sum(file.stat().st_size for file in others)
        mine = self._path(sha256, _PART)
        missing = size_bytes - (mine.stat().st_size if mine.exists() else 0)
        for file in sorted(others, key=lambda file: file.stat().st_mtime):
            if kept + size_bytes <= self._limit_bytes and missing + _SPARE_BYTES <= self._free_bytes():
                return
            size = file.stat().st_size
            if _delete_unused(file):
                kept -= size
        if kept + size_bytes > self._limit_bytes or missing + _SPARE_BYTES > self._free_bytes():
            raise EngineUnavailable(
                f"no room for a model of {size_bytes:,} bytes in {self._folder}: {kept:,} are in use,"
                f" {self._limit_bytes:,} may be kept (model_disk), and the disk has {self._free_bytes():,} free"
            )

    def _free_bytes(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self._folder).free

    def _files(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from (file for file in self._folder.iterdir() if file.suffix in {_WHOLE, _PART})

    def _path(self, sha256: str, suffix: str) -> Path:
        return self._folder / f"{sha256}{suffix}"


class Part:
    """A file that is being written, and the hash of what is there."""

    def __init__(self, path: Path, descriptor: int, whole: Path) -> None:
        """Wrap a locked descriptor; ``ModelCache.open_part`` does this."""
        self._path = path
        self._descriptor = descriptor
        self._whole = whole
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def resume(self, chunk_bytes: int, most_bytes: int) -> None:
        """Read what an earlier try has left, in whole chunks, and cut off the rest."""
        there = min(os.fstat(self._descriptor).st_size, most_bytes)
        if there < most_bytes:
            there -= there % chunk_bytes
        os.ftruncate(self._descriptor, there)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        while self.size_bytes < there:
            data = os.read(self._descriptor, min(_READ_BYTES, there - self.size_bytes))
            self._digest.update(data)
            self.size_bytes += len(data)

    def add(self, data: bytes) -> None:
        """Write the next bytes."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._digest.update(data)
        self.size_bytes += len(data)

    @property
    def sha256(self) -> str:
        """Hash of all that was written."""
        return self._digest.hexdigest()

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def finish(self) -> None:
        """Have it be the whole file, after a power cut too."""
        os.fsync(self._descriptor)
        self._path.replace(self._whole)

    def delete(self) -> None:
        """Have it be gone."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let others go on with it."""
        os.close(self._descriptor)


def hash_of(path: Path) -> str:
    """Hash a file, which also brings it into the page cache.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether a name still means the file that was opened by it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _delete_unused(file: Path) -> bool:
    """Delete a file unless somebody uses or writes it; whether it is gone."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        file.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)
