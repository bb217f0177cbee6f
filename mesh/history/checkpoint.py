"""Where a projection may begin: at its newest snapshot that is whole, of this version, and of this very stream.

A snapshot only saves time. One that is damaged, of another projection version, of another stream of the same name, or
ahead of its stream (a store that was restored from a backup) is left out with a warning, and the next older one tried;
without any, all is replayed from the first event.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from mesh.history.snapshots import Snapshot, Source, digest
from mesh.history.stream_facts import message_at, stream_facts

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.history.snapshots import SnapshotStore

log = logging.getLogger(__name__)


class Projection(Protocol):
    """A fold of a stream's events. The same events give the same state, wherever and whenever they are applied."""

    @property
    def name(self) -> str:
        """What its snapshots are called."""
        ...

    @property
    def version(self) -> int:
        """Raise it whenever ``apply`` or ``dump`` change: older snapshots are then left alone and all is replayed."""
        ...

    def apply(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in the next event. What is no event for it, it ignores: raising stops the replay."""
        ...

    def dump(self) -> bytes:
        """Return the whole state."""
        ...

    def load(self, data: bytes) -> None:
        """Replace the whole state by a dumped one.

        Raises:
            ValueError: if it cannot be read.
        """
        ...


class Checkpoint:
    """Loads and saves the snapshots of one projection of one stream."""

    def __init__(
        self, link: Link, stream: str, projection: Projection, snapshots: SnapshotStore, filters: tuple[str, ...] = ()
    ) -> None:
        """Prepare; ``load`` before ``save``."""
        self._link = link
        self._stream = stream
        self._projection = projection
        self._snapshots = snapshots
        self._filters = filters
        self._source: Source | None = None

    async def load(self) -> int:
        """Load the last good snapshot; returns the sequence that it stands behind, 0 if there is none.

        Raises:
            BusError: if there is no such stream, or the broker cannot say what it holds.
        """
        facts = await stream_facts(self._link, self._stream)
        self._source = Source(
            projection=self._projection.name,
            version=self._projection.version,
            stream=self._stream,
            stream_created=facts.created,
            filters=self._filters,
        )
        blank = self._projection.dump()
        for snapshot in await asyncio.to_thread(list, self._snapshots.candidates(self._source)):
            if await self._fits(snapshot) and self._restore(snapshot, blank):
                return snapshot.sequence
        return 0

    async def save(self, sequence: int, subject: str, data: bytes) -> None:
        """Write a snapshot behind the event at ``sequence``, which is given; a full disk is only a warning."""
        if self._source is None:
            return
        snapshot = Snapshot(
            source=self._source,
            sequence=sequence,
            event_digest=digest(subject, data),
            state=self._projection.dump(),
        )
        try:
            await asyncio.to_thread(self._snapshots.save, snapshot)
        except OSError as error:
            log.warning("no snapshot of %s could be written: %s", self._projection.name, error)

    def _restore(self, snapshot: Snapshot, blank: bytes) -> bool:
        try:
            self._projection.load(snapshot.state)
        except Exception as error:
            log.warning("a snapshot of %s cannot be loaded, an older one is tried: %s", self._projection.name, error)
            self._projection.load(blank)
            return False
        return True

    async def _fits(self, snapshot: Snapshot) -> bool:
        """Whether the stream still holds, at the snapshot's sequence, the event that the snapshot ends with."""
        facts = await stream_facts(self._link, self._stream, at_least=snapshot.sequence)
        if facts.last_sequence < snapshot.sequence:
            log.warning(
                "a snapshot of %s is not used: it is ahead of stream %s, which ends at %d",
                *(self._projection.name, self._stream, facts.last_sequence),
            )
            return False
        event = await message_at(self._link, self._stream, snapshot.sequence)
        if event is None or digest(event.subject, event.data) == snapshot.event_digest:
            # Not there: it has expired. What the projection knows of it is then more than the stream does.
            return True
        log.warning("a snapshot of %s is not used: stream %s holds other events", self._projection.name, self._stream)
        return False
