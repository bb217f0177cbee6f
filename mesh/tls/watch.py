"""Noticing that certificates were renewed: whoever renews them only replaces the files."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mesh.errors import TlsError, TlsNotTaken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

LOOK_EVERY: Final = timedelta(minutes=1)

_Stamp = tuple[tuple[int, int, int] | None, ...]


async def follow_files(
    files: Sequence[Path], on_change: Callable[[], Awaitable[None]], *, every: timedelta = LOOK_EVERY
) -> None:
    """Call ``on_change`` for ever, whenever one of the files is another one.

    If it raises TlsError, what was used so far stays in use, and the next change is looked at again; if it raises
    TlsNotTaken, it is called again at the next look.
    """
    known = _stamp(files)
    while True:
        await asyncio.sleep(every.total_seconds())
        found = _stamp(files)
        if found == known:
            continue
        try:
            await on_change()
            log.info("new certificate files are in use")
        except TlsNotTaken as error:
            log.warning("new certificate files are not used yet, trying again: %s", error)
            continue
        except TlsError as error:
            log.warning("new certificate files are not used, the old ones stay in use: %s", error)
        known = found


def _stamp(files: Sequence[Path]) -> _Stamp:
    return tuple(map(_stamp_of, files))


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        # By what a link points at: certificates of ACME clients are links that are moved on.
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
