"""Taking batches: gateways share them by one consumer, and one whose gateway dies goes to another within seconds."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.batches.run import BatchRun
from mesh.bus.work import WorkQueue
from streams.batches import subjects as batch_subjects
from streams.batches.events import BatchCreated
from streams.codec import decode_batch_event
from streams.consumers import BATCH_RUNNERS
from streams.errors import StreamsError
from streams.topology import BATCHES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.batches.log import BatchLog
    from gateway.http.api import Read
    from gateway.http.site import Site
    from mesh.bus.work import Work
    from mesh.files.store import FileStore
    from streams.tokens import Token

log = logging.getLogger(__name__)

_AT_ONCE: Final = 8
"""Batches that one gateway runs; others wait in the stream."""
_AGAIN: Final = timedelta(seconds=5)


class BatchRunner:
    """Runs batches until it is stopped; what it has not ended goes on elsewhere."""

    def __init__(self, site: Site, store: FileStore, batches: BatchLog, readers: Mapping[str, Read]) -> None:
        """Run requests for the APIs that ``readers`` has."""
        self._site = site
        self._store = store
        self._batches = batches
        self._readers = readers
        self._queue = WorkQueue(site.bus.core, BATCHES, BATCH_RUNNERS, self._take, window=2 * _AT_ONCE)
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to take batches."""
        await self._queue.start()

    async def stop(self) -> None:
        """Take none any more, and give back those that are not over."""
        await self._queue.stop(self._running)

    def _take(self, work: Work) -> None:
        try:
            account, name = batch_subjects.parse_batch(work.subject)
            is_new = isinstance(decode_batch_event(work.data), BatchCreated)
        except StreamsError as error:
            log.error("what stands on %s is no batch: %s", work.subject, error)
            is_new = False
            account = name = None
        if not is_new or account is None or name is None:
            # What else happens to a batch is for its readers.
            work.done()
            return
        task = asyncio.create_task(self._run(work, account, name), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, work: Work, account: Token, name: Token) -> None:
        async with self._room:
            try:
                await BatchRun(self._site, self._store, self._batches, self._readers, account, name).run()
            except Exception:
                # A broker that is away, most likely: nothing of it is lost, and somebody tries again.
                log.exception("batch %s of %s stopped halfway; it goes on in a moment", name, account)
                work.hand_back(_AGAIN)
            else:
                work.done()
