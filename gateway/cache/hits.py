"""Which answers were given again, as events of record: gathered for a second, so that no client waits.

Given again is what stood in the cache, and what was being written for somebody else.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.errors import BusError
from streams.cache.events import CacheHit
from streams.cache.subjects import cache_hits
from streams.clock import now_ms
from streams.codec import encode

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from streams.tasks.chat import Usage
    from streams.tokens import Token

log = logging.getLogger(__name__)

GATHER_S: Final = 1.0
_BATCH_BYTES: Final = 8
_AT_ONCE: Final = 32
_MOST: Final = 10_000
"""Different answers that wait to be written while the stream cannot be; beyond, the oldest are lost."""


class Given(NamedTuple):
    """An answer that was generated once, and given to somebody who did not have it generated."""

    owner: str
    """The account whose task it was generated for."""
    task: str
    model: str
    usage: Usage
    """What generating it has used."""


class _Counted(NamedTuple):
    """An answer, and how often it was given since the last event."""

    given: Given
    times: int


class HitLog:
    """Writes ``cache.hit.v1``: one event per account, key, answer and moment, however often it was given."""

    def __init__(self, core: Link) -> None:
        """Write through ``core``."""
        self._core = core
        self._fresh: dict[tuple[Token, str, str | None], _Counted] = {}
        self._waiting: list[tuple[Token, CacheHit]] = []
        self._writing: asyncio.Task[None] | None = None

    def note(self, account: Token, given: Given, key: str | None = None) -> None:
        """An account was given an answer, once, which it had asked for with ``key``."""
        before = self._fresh.get((account, given.task, key))
        times = 1 if before is None else before.times + 1
        self._fresh[account, given.task, key] = _Counted(given, times)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_on(), name="cache-hits")

    async def stop(self) -> None:
        """Write what was not written yet, as far as the stream takes it now."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._write()
        if self._waiting:
            log.warning("%d events about answers from the cache could not be written", len(self._waiting))

    async def _write_on(self) -> None:
        while self._fresh or self._waiting:
            await asyncio.sleep(GATHER_S)
            await self._write()

    async def _write(self) -> None:
        self._gather()
        for begin in range(0, len(self._waiting), _AT_ONCE):
            batch = self._waiting[begin : begin + _AT_ONCE]
            written = await asyncio.gather(*(self._append(*one) for one in batch))
            if not all(written):
                # Those that were written are written again with the rest: a batch counts once.
                self._waiting = self._waiting[begin:]
                return
        self._waiting = []

    def _gather(self) -> None:
        at_ms = now_ms()
        for (account, _, key), (given, times) in self._fresh.items():
            hit = CacheHit(
                at_ms=at_ms,
                batch=os.urandom(_BATCH_BYTES).hex(),
                owner=given.owner,
                task=given.task,
                model=given.model,
                usage=given.usage,
                times=times,
                key=key,
            )
            self._waiting.append((account, hit))
        self._fresh.clear()
        if len(self._waiting) > _MOST:
            log.error("%d events about answers from the cache are lost", len(self._waiting) - _MOST)
            self._waiting = self._waiting[-_MOST:]

    async def _append(self, account: Token, hit: CacheHit) -> bool:
        try:
            await self._core.append(cache_hits(account), encode(hit))
        except BusError as error:
            log.warning("an answer from the cache could not be noted, trying again: %s", error)
            return False
        return True
