"""A folder on a disk in memory, where there is one with room: for tests of what syncs to its disk all the time.

An index of passages does so three thousand times in a file of tests. In memory they take as long as they compute; on a
disk that others keep busy, half a minute more.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 1 << 30


@contextmanager
def memory_folder() -> Iterator[Path]:
    """Make one, and take it away with all that is in it."""
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    with tempfile.TemporaryDirectory(prefix="ig3-tests-", dir=_MEMORY if has_room else None) as folder:
        yield Path(folder)
