"""What the events of one vector store add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from streams.stores.events import (
    Attributes,
    Chunking,
    StoreBatchCancelled,
    StoreChanged,
    StoreClosed,
    StoreExpired,
    StoreFileAdded,
    StoreFileChanged,
    StoreFileFailed,
    StoreFileIndexed,
    StoreFileRemoved,
    StoreOpened,
    StoreReembedding,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.batches.events import Label
    from streams.stores.events import StoreEvent

    _Use = (
        StoreChanged
        | StoreFileAdded
        | StoreFileChanged
        | StoreFileRemoved
        | StoreBatchCancelled
        | StoreReembedding
        | StoreClosed
    )

FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]
"""OpenAI's words for how a file of a store stands."""

_DAY_MS: Final = 24 * 3600 * 1000


class StoreFile(Struct, frozen=True, kw_only=True):
    """A file of a store as it stands."""

    id: str
    filename: str
    added_at_ms: int
    chunking: Chunking | None
    attributes: Attributes
    batch: str | None
    key_id: str | None
    wanted: int
    """The generation that was asked for last; one that is older never comes to count."""
    status: FileStatus = "in_progress"
    """Of that generation."""
    indexed: StoreFileIndexed | None = None
    """The generation whose passages are found; while another is in progress or came to nothing, an older one."""
    fault: StoreFileFailed | None = None
    """Why the generation came to nothing."""


class StoreState:
    """One store. Events are applied in the order of their stream; what does not follow is left out."""

    def __init__(self, opened: StoreOpened) -> None:
        """Begin with the event that opened it."""
        self.opened = opened
        self.name = opened.name
        self.labels: tuple[Label, ...] = opened.labels
        self.model = opened.model
        """That makes vectors of what is taken in from now on."""
        self.expires_after_days = opened.expires_after_days
        self.used_at_ms = opened.at_ms
        self.is_closed = False
        self.is_expired = False
        """Whether its time is over for good; it is over a moment before that is said (``is_due``)."""
        self.files: dict[str, StoreFile] = {}
        """By their id, in the order in which they were first added."""

    @property
    def expires_at_ms(self) -> int | None:
        """When its time is over unless it is used; None: never."""
        return None if self.expires_after_days is None else self.used_at_ms + self.expires_after_days * _DAY_MS

    def is_over(self, at_ms: int) -> bool:
        """Whether it is not searched any more at this time, and takes nothing in."""
        return self.is_expired or self.is_due(at_ms)

    def is_due(self, at_ms: int) -> bool:
        """Whether its time is over and nobody has said so yet."""
        ends_at_ms = self.expires_at_ms
        return not (self.is_closed or self.is_expired) and ends_at_ms is not None and ends_at_ms <= at_ms

    def takes(self, event: StoreEvent) -> bool:
        """Whether this can happen to it: files can be removed from an expired store, which can be closed."""
        return not self.is_closed and (not self.is_expired or isinstance(event, StoreFileRemoved | StoreClosed))

    @property
    def usage_bytes(self) -> int:
        """What the passages that are found take, with their vectors."""
        return sum(file.indexed.bytes for file in self.files.values() if file.indexed is not None)

    @property
    def models(self) -> frozenset[str]:
        """That have made the vectors which are found: one, but while the store is being embedded anew."""
        return frozenset(file.indexed.model for file in self.files.values() if file.indexed is not None)

    def count(self, status: FileStatus) -> int:
        """How many files stand so."""
        return sum(file.status == status for file in self.files.values())

    def counts(self, file: str, generation: int) -> bool:
        """Whether the passages of this generation are what is found of a file."""
        known = self.files.get(file)
        return not self.is_closed and known is not None and _generation(known) == generation

    def awaits(self, file: str, generation: int) -> bool:
        """Whether this generation of a file is still to be taken in."""
        known = self.files.get(file)
        return known is not None and not self.is_closed and _is_awaited(known, generation)

    def awaited(self, generation: int) -> tuple[StoreFile, ...]:
        """Return the files of which this generation is still to be taken in."""
        return () if self.is_closed else tuple(file for file in self.files.values() if _is_awaited(file, generation))

    def apply(self, sequence: int, event: StoreEvent) -> None:
        """Fold one event; ``sequence`` is its place in STORES."""
        if isinstance(event, StoreOpened) or not self.takes(event):
            return
        if isinstance(event, StoreFileIndexed | StoreFileFailed):
            self._end(event)
        elif isinstance(event, StoreExpired):
            self._expire()
        else:
            self._use(sequence, event)

    def _use(self, sequence: int, event: _Use) -> None:
        """Fold what somebody does with it."""
        if not self.is_expired:
            self.used_at_ms = max(self.used_at_ms, event.at_ms)
        match event:
            case StoreChanged():
                self._change(event)
            case StoreFileAdded():
                self._add(sequence, event)
            case StoreFileChanged():
                self._describe(event)
            case StoreFileRemoved():
                self.files.pop(event.file, None)
            case StoreBatchCancelled():
                self._cancel(event)
            case StoreReembedding():
                self._ask_anew(sequence, event)
            case StoreClosed():
                self.is_closed = True

    def _change(self, event: StoreChanged) -> None:
        self.name = self.name if event.name is None else event.name
        self.labels = self.labels if event.labels is None else event.labels
        if event.expires_after_days is not None:
            self.expires_after_days = event.expires_after_days or None

    def _add(self, sequence: int, event: StoreFileAdded) -> None:
        before = self.files.get(event.file)
        self.files[event.file] = StoreFile(
            id=event.file,
            filename=event.filename,
            added_at_ms=event.at_ms,
            chunking=event.chunking,
            attributes=event.attributes,
            batch=event.batch,
            key_id=event.key_id,
            wanted=sequence,
            indexed=None if before is None else before.indexed,
        )

    def _describe(self, event: StoreFileChanged) -> None:
        file = self.files.get(event.file)
        if file is not None:
            self.files[file.id] = replace(file, attributes=event.attributes)

    def _end(self, event: StoreFileIndexed | StoreFileFailed) -> None:
        file = self.files.get(event.file)
        if file is None or not _is_awaited(file, event.generation):
            return
        if isinstance(event, StoreFileIndexed):
            self.files[file.id] = replace(file, status="completed", indexed=event)
        else:
            self.files[file.id] = replace(file, status="failed", fault=event)

    def _cancel(self, event: StoreBatchCancelled) -> None:
        for file in self.files.values():
            if file.batch == event.batch and file.status == "in_progress":
                self.files[file.id] = replace(file, status="cancelled")

    def _expire(self) -> None:
        self.is_expired = True
        for file in self.files.values():
            status = "cancelled" if file.status == "in_progress" else file.status
            self.files[file.id] = replace(file, status=status, indexed=None)

    def _ask_anew(self, sequence: int, event: StoreReembedding) -> None:
        self.model = event.model
        for file in self.files.values():
            if file.status != "cancelled":
                self.files[file.id] = replace(file, status="in_progress", wanted=sequence, fault=None)


def fold_store(events: Iterable[tuple[int, StoreEvent]]) -> StoreState | None:
    """Add events up, each with its sequence in STORES; None: there is no such store."""
    state: StoreState | None = None
    for sequence, event in events:
        if state is not None:
            state.apply(sequence, event)
        elif isinstance(event, StoreOpened):
            state = StoreState(event)
    return state


def _generation(file: StoreFile) -> int | None:
    return None if file.indexed is None else file.indexed.generation


def _is_awaited(file: StoreFile, generation: int) -> bool:
    return file.wanted == generation and file.status == "in_progress"
