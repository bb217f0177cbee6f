"""A fold of one stream that a process keeps up with: read when it starts, followed, and told to whoever verifies it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.history.checkpoint import Checkpoint
from mesh.history.projection_desk import fold_digest
from mesh.history.tail import StreamTail
from streams.codec import encode

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.history.checkpoint import Projection
    from mesh.history.snapshots import SnapshotStore
    from mesh.history.tail import OnEvent
    from streams.events import Event
    from streams.messages import FoldDigest


class FollowedFold:
    """Feeds one projection, and writes to its stream."""

    def __init__(
        self,
        core: Link,
        stream: str,
        subjects: str,
        projection: Projection,
        *,
        on_event: OnEvent,
        snapshots: SnapshotStore | None = None,
    ) -> None:
        """Prepare; ``start`` reads what is stored, from the newest of ``snapshots`` on where there is one.

        Args:
            core: the connection to CORE.
            stream: which stream.
            subjects: which of its subjects, with wildcards where it is several.
            projection: the fold.
            on_event: gets each event and feeds the projection.
            snapshots: where the fold is saved; None: it is read from the first event each time.
        """
        self._core = core
        self._projection = projection
        checkpoint = None if snapshots is None else Checkpoint(core, stream, projection, snapshots)
        self._tail = StreamTail(core, stream, subjects, on_event, checkpoint=checkpoint)

    async def start(self) -> None:
        """Read all that is stored, and follow.

        Raises:
            BusError: if the stream cannot be read.
        """
        await self._tail.start()

    async def stop(self) -> None:
        """Follow no more."""
        await self._tail.stop()

    async def catch_up(self) -> None:
        """Read all that is stored by now.

        Raises:
            BusError: if the stream cannot be read.
        """
        await self._tail.catch_up()

    def told(self) -> FoldDigest:
        """Return what the log adds up to here, for whoever verifies it."""
        return fold_digest(self._projection, self._tail.position)

    async def save(self) -> None:
        """Write a snapshot now, if anything was read since the last one; a full disk is only a warning."""
        await self._tail.save()

    async def write(self, subject: str, event: Event) -> None:
        """Write an event, and fold all that comes before it and itself.

        There is no fence: if two services write at once, the fold takes the first and passes over what contradicts it.

        Raises:
            BusError: if it cannot be written.
        """
        await self._tail.reach(await self._core.append(subject, encode(event)))
