"""One process at a time uses a folder."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from gateway.retrieval.errors import FolderTaken, IndexUnavailable

if TYPE_CHECKING:
    from pathlib import Path


def lock_folder(folder: Path) -> int:
    """Make a folder if it is not there, and take it for this process; closing what is returned gives it back.

    Raises:
        FolderTaken: if another process uses it.
        IndexUnavailable: if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise IndexUnavailable(f"the folder of the index cannot be written: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        message = f"another retrieval process uses {folder}: give each a folder of its own (--index-dir)"
        raise FolderTaken(message) from error
    return lock
