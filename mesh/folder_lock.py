"""One owner per folder: a lock that the kernel frees when its holders are gone, however they went."""

from __future__ import annotations

import asyncio
import fcntl
import os
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

_RETRY_S: Final = 0.05


class Taken(Exception):
    """Somebody else holds the lock; the text is what that holder wrote about itself, or empty."""


class FolderLock:
    """An exclusive lock on a file. Children that inherit ``descriptor`` hold it too, until the last of them ends."""

    def __init__(self, descriptor: int) -> None:
        """Wrap a locked descriptor; ``acquire`` does this."""
        self.descriptor = descriptor

    @classmethod
    async def acquire(cls, path: Path, *, patience: timedelta) -> Self:
        """Take the lock, waiting for a holder that is just ending.

        Raises:
            Taken: if it is still held after ``patience``.
            OSError: if the file cannot be opened.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await _lock(descriptor, patience.total_seconds())
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def describe(self, holder: str) -> None:
        """Write who holds the lock, for the message that others will see."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, holder.encode(), 0)

    def release(self) -> None:
        """Give the lock up; it stays taken while a child still has the descriptor."""
        os.close(self.descriptor)


async def _lock(descriptor: int, patience_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if asyncio.get_running_loop().time() >= deadline:
                raise Taken(os.pread(descriptor, 4096, 0).decode(errors="replace").strip()) from None
            await asyncio.sleep(_RETRY_S)
        else:
            return
