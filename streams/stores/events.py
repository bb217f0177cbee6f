"""The part of the event catalogue that STORES holds: vector stores, their files, and what became of each.

A **generation** is one asking for a file's passages: the sequence in STORES of the event that asked, ``file_added`` or
``reembedding``. So each asking has a number of its own, and a later one a greater number.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from streams.batches.events import Label
from streams.event import Event
from streams.tasks.chat import Count

MOST_ATTRIBUTES: Final = 16
"""Of one file, and labels of one store; OpenAI's limit."""
MOST_PASSAGE_TOKENS: Final = 4096
"""OpenAI's limit of a chunk."""

FileId = Annotated[str, Meta(min_length=1, max_length=64)]
_Model = Annotated[str, Meta(min_length=1, max_length=256)]
_Words = Annotated[str, Meta(max_length=512)]

AttributeValue = _Words | float | bool


class Chunking(Struct, frozen=True, kw_only=True):
    """How long passages are, and how much of one is said again by the next."""

    most_tokens: Annotated[int, Meta(ge=16, le=MOST_PASSAGE_TOKENS)]
    overlap_tokens: Annotated[int, Meta(ge=0, le=MOST_PASSAGE_TOKENS // 2)]


class Attribute(Struct, frozen=True, kw_only=True):
    """Something that the owner has noted on a file of a store; searches can ask for it."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    value: AttributeValue


Attributes = Annotated[tuple[Attribute, ...], Meta(max_length=MOST_ATTRIBUTES)]
Labels = Annotated[tuple[Label, ...], Meta(max_length=MOST_ATTRIBUTES)]
_Days = Annotated[int, Meta(ge=1, le=365)]


class StoreOpened(Event, frozen=True, kw_only=True, tag="store.opened.v1"):
    """There is a new store; its files' passages become vectors by ``model``."""

    at_ms: int
    model: _Model
    name: Annotated[str, Meta(max_length=256)] = ""
    description: _Words = ""
    chunking: Chunking | None = None
    """For files that say nothing else; None: as the retrieval process is set."""
    expires_after_days: _Days | None = None
    """Counted from the last event that is no outcome of a file; None: it stays."""
    labels: Labels = ()
    key_id: Annotated[str, Meta(max_length=64)] | None = None
    """The API key that asked; None: a session, or nobody had to say."""


class StoreChanged(Event, frozen=True, kw_only=True, tag="store.changed.v1"):
    """Its owner calls it otherwise. None: as it was; all None: it was merely used, which puts its expiry off."""

    at_ms: int
    name: Annotated[str, Meta(max_length=256)] | None = None
    labels: Labels | None = None
    expires_after_days: Annotated[int, Meta(ge=0, le=365)] | None = None
    """0: it expires no more."""


class StoreFileAdded(Event, frozen=True, kw_only=True, tag="store.file_added.v1"):
    """A file is to be found in the store. Once more for a file that is there: it is taken in anew."""

    at_ms: int
    file: FileId
    filename: _Words
    chunking: Chunking | None = None
    attributes: Attributes = ()
    batch: Annotated[str, Meta(max_length=64)] | None = None
    """The id under which several files were added at once."""
    key_id: Annotated[str, Meta(max_length=64)] | None = None


class StoreFileChanged(Event, frozen=True, kw_only=True, tag="store.file_changed.v1"):
    """Its owner has noted other attributes on a file, all of them."""

    at_ms: int
    file: FileId
    attributes: Attributes


class StoreFileIndexed(Event, frozen=True, kw_only=True, tag="store.file_indexed.v1"):
    """All passages of a generation of a file are in PASSAGES, and count from now on."""

    at_ms: int
    file: FileId
    generation: Count
    model: _Model
    """That has made the vectors."""
    parts: Count
    """Messages in PASSAGES that hold them."""
    passages: Count
    tokens: Count
    characters: Count
    """Of the file's text."""
    bytes: Count
    """Of passages and vectors together."""


class StoreFileFailed(Event, frozen=True, kw_only=True, tag="store.file_failed.v1"):
    """A generation of a file came to nothing."""

    at_ms: int
    file: FileId
    generation: Count
    code: Annotated[str, Meta(max_length=64)]
    message: Annotated[str, Meta(max_length=1024)]


class StoreFileRemoved(Event, frozen=True, kw_only=True, tag="store.file_removed.v1"):
    """A file is to be found in the store no more; its passages are deleted."""

    at_ms: int
    file: FileId


class StoreBatchCancelled(Event, frozen=True, kw_only=True, tag="store.batch_cancelled.v1"):
    """Files that were added under one id, and have not been taken in yet, are wanted no more."""

    at_ms: int
    batch: Annotated[str, Meta(min_length=1, max_length=64)]


class StoreReembedding(Event, frozen=True, kw_only=True, tag="store.reembedding.v1"):
    """All files of the store are to be taken in anew, by this model. Until then, what is there serves."""

    at_ms: int
    model: _Model


class StoreExpired(Event, frozen=True, kw_only=True, tag="store.expired.v1"):
    """Its time is over, for good: nothing of it is found, its passages are deleted, and its files stand as they did."""

    at_ms: int


class StoreClosed(Event, frozen=True, kw_only=True, tag="store.closed.v1"):
    """Its owner wants it no more; its passages are deleted."""

    at_ms: int


StoreEvent = (
    StoreOpened
    | StoreChanged
    | StoreFileAdded
    | StoreFileChanged
    | StoreFileIndexed
    | StoreFileFailed
    | StoreFileRemoved
    | StoreBatchCancelled
    | StoreReembedding
    | StoreExpired
    | StoreClosed
)
"""All that STORES may hold."""
