"""One owner per folder: a lock that the kernel frees when its holders are gone, however they went."""

from __future__ import annotations

import asyncio
import fcntl
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE: Final = timedelta(seconds=1)
"""How long to wait for a holder that lives: it may be about to end."""
PATIENCE_WITH_ORPHANS: Final = timedelta(seconds=20)
"""How long to wait when the holder is gone, killed perhaps, and the children that it left behind are ending."""

_RETRY_S: Final = 0.05
_LONGEST_TEXT: Final = 4096


class Taken(Exception):
    """Somebody else holds the lock; the text is what that holder wrote about itself, or empty."""


class FolderLock:
    """An exclusive lock on a file. Children that inherit ``descriptor`` hold it too, until the last of them ends."""

    def __init__(self, descriptor: int) -> None:
        """Wrap a locked descriptor; ``acquire`` does this."""
        self.descriptor = descriptor

    @classmethod
    async def acquire(cls, path: Path) -> Self:
        """Take the lock, waiting for a holder that is just ending.

        Raises:
            Taken: if it is still held after a while.
            OSError: if the file cannot be opened.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await _lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def describe(self, holder: str) -> None:
        """Write who holds the lock, for the message that others will see."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{os.getpid()}\n{holder}".encode(), 0)

    def release(self) -> None:
        """Give the lock up; it stays taken while a child still has the descriptor."""
        os.close(self.descriptor)


async def _lock(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, holder = os.pread(descriptor, _LONGEST_TEXT, 0).decode(errors="replace").partition("\n")
            patience = PATIENCE if _is_alive(pid) else PATIENCE_WITH_ORPHANS
            if loop.time() - began >= patience.total_seconds():
                raise Taken(holder.strip()) from None
            await asyncio.sleep(_RETRY_S)
        else:
            return


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
