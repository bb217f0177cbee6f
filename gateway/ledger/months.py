"""Months that are over are sealed by the ledger itself, and archived where it is told to."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.ledger.archive import name_of, write_archive
from gateway.ledger.sealing import months_to_seal, read_seals, seal
from streams.ledger.periods import month_before

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from mesh.bus.link import Link

log = logging.getLogger(__name__)


class Months:
    """Seals each month once, in their order, however many are due and whoever else does."""

    name = "month_sealed"

    def __init__(self, core: Link, after: timedelta, archive: Path | None) -> None:
        """Seal a month ``after`` its end."""
        self._core = core
        self._after_ms = round(after.total_seconds() * 1000)
        self._archive = archive
        self._done_to = ""

    async def look(self, now_ms: int) -> int:
        """Seal what is due; returns how many months this process has sealed.

        Raises:
            LedgerError: if a month cannot be sealed or archived; those before it are.
            BusError: if the books cannot be read or written.
        """
        last = month_before(now_ms - self._after_ms)
        if last == self._done_to:
            return 0
        done = 0
        for period in await months_to_seal(self._core, last):
            sealing = await seal(self._core, period, at_ms=now_ms)
            if sealing.is_new:
                done += 1
                log.info("%s is sealed: %d events, %s", period, sealing.seal.events, sealing.seal.digest)
        await self._write_archives()
        self._done_to = last
        return done

    async def _write_archives(self) -> None:
        """Write those that are not there: whoever died behind a seal has written none."""
        if self._archive is None:
            return
        for each in await read_seals(self._core):
            if not (self._archive / name_of(each)).exists():
                log.info("archived to %s", await write_archive(self._core, each, self._archive))
