"""Keeping up with ACCESS and SESSIONS in this process: whoever checks credentials asks folds in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mesh.access.ended_sessions import SESSION_SUBJECTS, EndedSessions
from mesh.access.log import ACCESS_SUBJECTS, AccessLog
from mesh.errors import BusError
from mesh.history.checkpoint import Checkpoint
from mesh.history.projection_desk import fold_digest
from mesh.history.tail import StreamTail
from streams.access.fold import Access
from streams.topology import ACCESS, SESSIONS

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.history.snapshots import SnapshotStore
    from streams.messages import FoldDigest

LOOK_EVERY_S: Final = 0.25
"""How often strangers may make this process look for news: a wrong key costs the broker no more than this."""

OnChange = Callable[[], None]


class AccessFeed:
    """Feeds one ``Access``, and knows which sessions were ended."""

    def __init__(self, core: Link, snapshots: SnapshotStore | None = None) -> None:
        """Prepare; ``start`` reads what is stored, from the newest of ``snapshots`` on where there is one."""
        self.access = Access()
        self.ended = EndedSessions()
        self._core = core
        self._log = AccessLog(self.access)
        checkpoint = None if snapshots is None else Checkpoint(core, ACCESS, self._log, snapshots)
        self._tail = StreamTail(core, ACCESS, ACCESS_SUBJECTS, self._on_event, checkpoint=checkpoint)
        self._sessions = StreamTail(core, SESSIONS, SESSION_SUBJECTS, self._on_session)
        self._looking: asyncio.Task[None] | None = None
        self._looked_at_s = float("-inf")
        self._watchers: list[OnChange] = []

    async def start(self) -> None:
        """Read the streams and follow them from then on.

        Raises:
            BusError: if they cannot be read.
        """
        await self._tail.start()
        await self._sessions.start()

    async def stop(self) -> None:
        """Stop following."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._sessions.stop()
        await self._tail.stop()

    @property
    def position(self) -> int:
        """The stream sequence up to which the fold has come."""
        return self._tail.position

    @property
    def losses(self) -> int:
        """How often somebody has lost something, or signed out, as far as this process has seen."""
        return self.access.losses + self.ended.count

    def told(self) -> FoldDigest:
        """Return what the log adds up to here, for whoever verifies it."""
        return fold_digest(self._log, self._tail.position)

    async def reach(self, sequence: int) -> None:
        """Read on until the event at ``sequence`` is in the fold.

        Raises:
            BusError: if the stream cannot be read.
        """
        await self._tail.reach(sequence)

    async def catch_up(self) -> None:
        """Read on until all that was stored by now is in the fold: for who is about to refuse something for good.

        Raises:
            BusError: if the stream cannot be read.
        """
        await self._tail.catch_up()

    async def reach_sessions(self) -> None:
        """Read on until every session that was ended by now is known to be.

        Raises:
            BusError: if that cannot be known now.
        """
        newest = await self._sessions.catch_up()
        if self._sessions.position < newest:
            raise BusError("it cannot be known now which sessions were ended: try again")

    async def look(self) -> None:
        """Read what was stored just now, before somebody is told that he is not known.

        All who ask at once share one look, and soon after one there is no other.

        Raises:
            BusError: if the stream cannot be read.
        """
        if self._looking is None or self._looking.done():
            now_s = asyncio.get_running_loop().time()
            if now_s - self._looked_at_s < LOOK_EVERY_S:
                return
            self._looked_at_s = now_s
            self._looking = asyncio.create_task(self.catch_up(), name="access-look")
        await asyncio.shield(self._looking)

    def subscribe(self, on_change: OnChange) -> Callable[[], None]:
        """Call ``on_change`` behind every event; returns a function that ends it, once or more."""
        self._watchers.append(on_change)

        def unsubscribe() -> None:
            if on_change in self._watchers:
                self._watchers.remove(on_change)

        return unsubscribe

    def _on_session(self, sequence: int, subject: str, data: bytes) -> None:
        self.ended.apply(sequence, subject, data)
        for watcher in tuple(self._watchers):
            watcher()

    def _on_event(self, sequence: int, subject: str, data: bytes) -> None:
        self._log.apply(sequence, subject, data)
        for watcher in tuple(self._watchers):
            watcher()
