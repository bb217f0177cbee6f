"""A disk of a test's own: an ext4 filesystem in a file, whose power can be cut and which can be filled.

Cutting the power is the kernel's own `EXT4_IOC_SHUTDOWN` without a flush of the journal, which filesystems are tested
with for crashes: from that moment nothing reaches the disk any more, so what was written and not synced is lost, and
what is found afterwards is what ext4 recovers from its journal. What it does not model: a drive that says "flushed" and
lies, and torn sectors.
"""

import errno
import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

_SHUTDOWN = 0x8004_587D
"""`EXT4_IOC_SHUTDOWN`, the same number as `FS_IOC_GOINGDOWN` of XFS."""
_WITHOUT_FLUSH = 2
_MIB = 1 << 20
_BALLAST = "ballast"

WITHOUT_ROOT = """\
this test makes, mounts and breaks a filesystem of its own, and {missing}.
Run it as root on a machine with loop devices (CI does), or leave such tests out: make test ARGS='-m "not root"'"""


class LoopDisk:
    """A mounted filesystem of `size_mib`, for as long as the context lasts; files go under `path`."""

    def __init__(self, folder: Path, *, size_mib: int) -> None:
        _require_root()
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "mounted"
        self._image = folder / "image"
        with self._image.open("wb") as image:
            image.truncate(size_mib * _MIB)
        # No blocks kept for root alone: the tests run as root and would not see the same end of the disk as others.
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))

    @property
    def free_bytes(self) -> int:
        """How much can still be written."""
        return shutil.disk_usage(self.path).free

    def mount(self) -> None:
        """Attach it; after a cut, this is where ext4 recovers what its journal holds."""
        self.path.mkdir(exist_ok=True)
        # A commit every five minutes instead of five seconds: nothing is saved by luck while a slow test runs.
        _run("mount", "-o", "loop,commit=300", str(self._image), str(self.path))

    def unmount(self) -> None:
        """Detach it; nobody may have a file open there."""
        _run("umount", str(self.path))

    def cut_power(self) -> None:
        """From here on nothing is written, and every call fails with an I/O error, until it is mounted again."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSH))
        finally:
            os.close(descriptor)

    def fill_but(self, left_bytes: int) -> None:
        """Leave little room."""
        ballast = self.path / _BALLAST
        ballast.write_bytes(bytes(self.free_bytes - left_bytes))

    def fill(self) -> None:
        """Leave no room for anybody."""
        descriptor = os.open(self.path / _BALLAST, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (_MIB, 4096, 512):
                _write_until_full(descriptor, size)
        finally:
            os.close(descriptor)

    def make_room(self) -> None:
        """Take away what filled it."""
        (self.path / _BALLAST).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.mount()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.path.is_mount():
            # What a failed test left open keeps the disk, but not the name, until its process ends.
            _run("umount", "--lazy", str(self.path))


def _write_until_full(descriptor: int, size: int) -> None:
    block = b"\0" * size
    try:
        while os.write(descriptor, block):
            pass
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def _require_root() -> None:
    missing = [
        what
        for what, is_there in (
            ("this is not root", os.geteuid() == 0),
            ("there is no /dev/loop-control", Path("/dev/loop-control").exists()),
            ("mkfs.ext4 is not installed (package e2fsprogs)", shutil.which("mkfs.ext4") is not None),
        )
        if not is_there
    ]
    if missing:
        pytest.fail(WITHOUT_ROOT.format(missing=", ".join(missing)), pytrace=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
