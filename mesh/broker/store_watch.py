"""Looks after a broker's store: notices that it has no room, and starts a server again that cannot write any more.

After a write that failed, for want of room or because of the disk itself, nats-server 2.15 answers no publish to that
stream until it is started again (docs/durability.md). It is, once a trial write succeeds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mesh.broker.monitoring import stored_bytes, write_fault
from mesh.broker.store_room import MIB, Measured, may_start_again, shortage
from mesh.processes.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from mesh.broker.store_room import StoreLimits
    from mesh.config.address import Address

log = logging.getLogger(__name__)

LOOK_EVERY: Final = timedelta(seconds=1)
_TRIAL: Final = "trial-write"


class StoreWatch:
    """Looks each second. ``shortage`` says for people why no new tasks are taken; None: they are."""

    def __init__(self, folder: Path, monitor: Address, limits: StoreLimits) -> None:
        """Prepare; ``run`` looks.

        Args:
            folder: where the server keeps its streams.
            monitor: the server's monitoring; it stays the same when the server is started again.
            limits: how much the server lets its accounts store.
        """
        self.shortage: str | None = None
        self._folder = folder
        self._monitor = monitor
        self._limits = limits
        self._backoff = Backoff()
        self._restarted_at_s = 0.0

    async def run(self, start_again: Callable[[str], Awaitable[None]]) -> None:
        """Look until cancelled; ``start_again`` ends the server, which is then started by whoever watches it."""
        while True:
            await asyncio.sleep(LOOK_EVERY.total_seconds())
            # A server that does not answer is on its way up, or is missed by others.
            with suppress(OSError):
                found = await self._measure()
                self._tell(shortage(self._limits, found, was_short=self.shortage is not None))
                if found.fault is not None and may_start_again(self._limits, found) and _can_write(self._folder):
                    await self._start_again(start_again, found.fault)

    async def _measure(self) -> Measured:
        fault, held = await write_fault(self._monitor), await stored_bytes(self._monitor)
        return Measured(
            disk_free_bytes=shutil.disk_usage(self._folder).free,
            edge_bytes=held.get("EDGE", 0),
            core_bytes=held.get("CORE", 0),
            fault=fault,
        )

    def _tell(self, found: str | None) -> None:
        if (found is None) != (self.shortage is None):
            if found is None:
                log.info("the broker takes new tasks again")
            else:
                log.error("the broker takes no new tasks: %s", found)
        self.shortage = found

    async def _start_again(self, start_again: Callable[[str], Awaitable[None]], fault: str) -> None:
        loop = asyncio.get_running_loop()
        delay = self._backoff.after(loop.time() - self._restarted_at_s)
        await asyncio.sleep(delay.total_seconds())
        await start_again(f"it could not write ({fault}), and now there is room again")
        self._restarted_at_s = loop.time()


def _can_write(folder: Path) -> bool:
    """Try it: what is free by count may be kept for others by a quota, and a disk may be read-only or broken."""
    path = folder / _TRIAL
    try:
        with path.open("wb") as file:
            file.write(bytes(MIB))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        log.warning("nothing can be written to %s yet: %s", folder, error.strerror)
        return False
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return True
