"""Snapshots of projections on this machine's disk: a file each, whole or not there, believed only if it proves good.

A file is a magic line, a BLAKE2b digest, and a MessagePack body. One that is cut, altered, of another projection
version or of another stream is left out with a warning, and the next older one is tried: a snapshot only saves time.
"""

from __future__ import annotations

import hashlib
import logging
import os
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from streams.tokens import encode_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

SNAPSHOTS: Final = "snapshots"
"""Where snapshots lie in a data folder."""

_MAGIC: Final = b"ig3-snapshot 1\n"
_DIGEST_BYTES: Final = 32
_SUFFIX: Final = ".snapshot"


class Source(Struct, frozen=True, kw_only=True):
    """What a snapshot was made from, and by which code: all of it must be the same for the snapshot to be of use."""

    projection: str
    version: int
    stream: str
    stream_created: str
    """When the broker made the stream: another stream of the same name has other events at the same sequences."""
    filters: tuple[str, ...] = ()


class Snapshot(Struct, frozen=True, kw_only=True):
    """A projection's state behind the event at ``sequence``."""

    source: Source
    sequence: int
    event_digest: bytes
    """Digest of that event: after a restored backup the same sequence may hold another one."""
    state: bytes


class SnapshotStore:
    """The snapshots in one folder. Calls block for as long as the disk takes."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        """Use ``folder``, which is made when the first snapshot is written; ``keep`` the newest of each projection."""
        self._folder = folder
        self._keep = keep

    def candidates(self, source: Source) -> Iterator[Snapshot]:
        """Yield the good snapshots of a projection, the newest first."""
        for path in self._files(source):
            snapshot = _read(path)
            if snapshot is None:
                continue
            if snapshot.source != source:
                log.warning("snapshot %s is not used: %s", path, _difference(snapshot.source, source))
                continue
            yield snapshot

    def save(self, snapshot: Snapshot) -> Path:
        """Write a snapshot, whole or not at all, and remove those that are too many.

        Raises:
            OSError: if the disk does not take it.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{_prefix(snapshot.source)}{snapshot.sequence:020d}{_SUFFIX}"
        fresh = path.with_suffix(f".{os.getpid()}.new")
        try:
            _write(fresh, msgspec.msgpack.encode(snapshot))
            fresh.replace(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        _sync_folder(self._folder)
        for old in self._files(snapshot.source)[self._keep :]:
            old.unlink(missing_ok=True)
        return path

    def _files(self, source: Source) -> list[Path]:
        # Newest by the time of writing, not by sequence: a new stream of the same name begins at 1 again.
        found = self._folder.glob(f"{_prefix(source)}*{_SUFFIX}")
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def digest(subject: str, data: bytes) -> bytes:
    """Return what tells an event from another one at the same sequence."""
    return hashlib.blake2b(subject.encode() + b"\n" + data, digest_size=_DIGEST_BYTES).digest()


def _prefix(source: Source) -> str:
    return f"{encode_name(source.projection)}.{source.stream}."


def _write(path: Path, body: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_MAGIC + hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest())
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> Snapshot | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        log.warning("snapshot %s is not used: it cannot be read: %s", path, error.strerror)
        return None
    begin = len(_MAGIC) + _DIGEST_BYTES
    body = content[begin:]
    if content[:begin] != _MAGIC + hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest():
        log.warning("snapshot %s is not used: it is damaged", path)
        return None
    try:
        return msgspec.msgpack.decode(body, type=Snapshot)
    except msgspec.DecodeError as error:
        log.warning("snapshot %s is not used: %s", path, error)
        return None


def _difference(found: Source, wanted: Source) -> str:
    return "; ".join(
        f"its {field} is {getattr(found, field)!r}, not {getattr(wanted, field)!r}"
        for field in Source.__struct_fields__
        if getattr(found, field) != getattr(wanted, field)
    )
