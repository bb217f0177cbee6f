"""What the events of one batch add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from streams.batches.events import BatchCancelling, BatchCreated, BatchEnded, BatchEvent, BatchRefused, BatchStarted

if TYPE_CHECKING:
    from collections.abc import Iterable


class Batch(Struct, frozen=True, kw_only=True):
    """One batch as it stands. What does not follow in order is left out, as for any fold."""

    created: BatchCreated
    started: BatchStarted | None = None
    cancelling: BatchCancelling | None = None
    end: BatchRefused | BatchEnded | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow."""
        return self.end is not None


def fold_batch(events: Iterable[BatchEvent]) -> Batch | None:
    """Add events up, in the order of their stream; None: there is no such batch."""
    batch: Batch | None = None
    for event in events:
        batch = _advance(batch, event)
    return batch


def _advance(batch: Batch | None, event: BatchEvent) -> Batch | None:
    if batch is None or batch.is_over:
        return Batch(created=event) if batch is None and isinstance(event, BatchCreated) else batch
    match event:
        case BatchStarted() if batch.started is None:
            return replace(batch, started=event)
        case BatchCancelling() if batch.cancelling is None:
            return replace(batch, cancelling=event)
        case BatchRefused() if batch.started is None:
            return replace(batch, end=event)
        case BatchEnded():
            return replace(batch, end=event)
        case _:
            return batch
