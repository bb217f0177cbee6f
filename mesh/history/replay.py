"""Projections kept up with a stream: from the last good snapshot, through what was stored since, and on live.

A projection is a fold of a stream's events. Rebuilt from the first event it equals the one that was kept live: that is
the promise, and a snapshot only shortens the way there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from mesh.history.checkpoint import Checkpoint
from mesh.history.ordered import OrderedReader, Start
from mesh.history.stream_facts import last_message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mesh.bus.link import Link
    from mesh.history.checkpoint import Projection
    from mesh.history.snapshots import SnapshotStore
    from mesh.history.stream_facts import Recorded

SAVE_EVERY: Final = 100_000
"""Events after which a new snapshot is worth writing; replaying so many takes about a second."""

_WAIT_S: Final = 5.0


async def replay(
    link: Link,
    stream: str,
    projection: Projection,
    *,
    snapshots: SnapshotStore | None = None,
    filters: Sequence[str] = (),
    save_every: int = SAVE_EVERY,
) -> Replay:
    """Bring a projection to the end of a stream and return what keeps it there; close that after use.

    Args:
        link: a connection in the stream's account.
        stream: which stream.
        projection: what to bring up to date; its state is replaced where a snapshot is good.
        snapshots: where to begin and where to save; without, every replay begins at the first event.
        filters: subjects to read; without, all of the stream.
        save_every: events after which a snapshot is written.

    Raises:
        BusError: if there is no such stream, or the broker cannot say what it holds.
    """
    running = Replay(link, stream, projection, snapshots=snapshots, filters=tuple(filters), save_every=save_every)
    try:
        await running.catch_up()
    except BaseException:
        await running.close()
        raise
    return running


class Replay:
    """One projection on its way through one stream. ``replay`` makes it and catches up."""

    def __init__(
        self,
        link: Link,
        stream: str,
        projection: Projection,
        *,
        snapshots: SnapshotStore | None,
        filters: tuple[str, ...],
        save_every: int,
    ) -> None:
        """Prepare; see ``replay``."""
        self._link = link
        self._stream = stream
        self._projection = projection
        self._checkpoint = None if snapshots is None else Checkpoint(link, stream, projection, snapshots, filters)
        self._filters = filters
        self._save_every = save_every
        self._reader: OrderedReader | None = None
        self._last: Recorded | None = None
        self._sequence = 0
        self._since_save = 0
        self.loaded_sequence = 0
        """The sequence of the snapshot that was used; 0 if none was."""

    @property
    def sequence(self) -> int:
        """The stream sequence of the last event that the projection has."""
        return self._sequence

    async def catch_up(self) -> None:
        """Load the last good snapshot and apply what was stored since.

        Raises:
            BusError: if there is no such stream, or the broker cannot say what it holds.
        """
        if self._checkpoint is not None:
            self._sequence = self.loaded_sequence = await self._checkpoint.load()
        self._reader = await OrderedReader(
            self._link, self._stream, start=Start(after_sequence=self._sequence), filters=self._filters
        ).__aenter__()
        while not await self._is_at_end(self._reader):
            self._apply(await self._reader.take(wait_s=_WAIT_S))
        if self._since_save >= self._save_every:
            await self.save()

    async def follow(self, on_change: Callable[[], None] | None = None) -> None:
        """Apply what is stored from now on, until cancelled; ``on_change`` is called after each batch.

        Nothing is missed or applied twice, whatever the broker goes through meanwhile.
        """
        if self._reader is None:
            await self.catch_up()
        while self._reader is not None:
            events = await self._reader.take(wait_s=_WAIT_S)
            self._apply(events)
            if events and on_change is not None:
                on_change()
            if self._since_save >= self._save_every:
                await self.save()

    async def save(self) -> None:
        """Write a snapshot now, if anything has happened since the last one; a full disk is only a warning."""
        if self._checkpoint is None or self._last is None:
            return
        self._since_save = 0
        await self._checkpoint.save(self._sequence, self._last.subject, self._last.data)

    async def close(self) -> None:
        """Stop reading; the projection keeps its state."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.__aexit__()

    async def __aenter__(self) -> Self:
        """Use as a context manager."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop reading."""
        await self.close()

    def _apply(self, events: list[Recorded]) -> None:
        for event in events:
            self._projection.apply(event.sequence, event.subject, event.data)
        if events:
            self._last = events[-1]
            self._sequence = self._last.sequence
            self._since_save += len(events)

    async def _is_at_end(self, reader: OrderedReader) -> bool:
        """Whether nothing more is stored; a second source must agree, since a recovering broker may say so too soon."""
        if not reader.is_caught_up:
            return False
        for subject_filter in self._filters or (">",):
            newest = await last_message(self._link, self._stream, subject_filter)
            if newest is not None and newest.sequence > self._sequence:
                if reader.is_caught_up:
                    reader.restart()
                return False
        return True
