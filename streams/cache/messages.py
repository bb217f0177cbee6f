"""What the response cache holds under a key: a part of ``streams.messages``. It is a state, and no event of record."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from streams.events import TaskChunk
from streams.subjects import ServiceClass
from streams.tasks.chat import Count, FinishReason, Usage
from streams.wire import Wire

_Name = Annotated[str, Meta(max_length=64)]


class CacheClaim(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="claim", tag_field="type"):
    """A task is writing the answer, or is about to: whoever asks the same follows it."""

    task: _Name
    until_ms: Count
    """When nobody need believe it any more, in Unix milliseconds."""
    deadline_at_ms: Count
    service_class: ServiceClass
    may_cancel: bool = False
    """Whether the task is cancelled if its client hangs up, and nobody follows."""
    is_followed: bool = False
    """Whether somebody does, at another gateway than the one that made the claim."""


class CacheAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="answer", tag_field="type"):
    """A whole answer, as the task's own events say it; pieces of plain text are put together."""

    account: _Name
    """Whose task has written it."""
    task: _Name
    at_ms: Count
    """When it was stored, in Unix milliseconds."""
    until_ms: Count
    """From when on it is not given to anybody, in Unix milliseconds."""
    n: Count
    """The counter of the marker that ended the task."""
    model: Annotated[str, Meta(max_length=256)] | None = None
    """What has answered, where another name was asked for."""
    chunks: tuple[TaskChunk, ...]
    finish_reason: FinishReason
    usage: Usage


class CacheVoid(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="void", tag_field="type"):
    """Nothing: what stood here came to nothing."""


class NearQuestion(Struct, frozen=True, kw_only=True):
    """A question that was asked, by its vector alone."""

    digest: _Name
    """Where its answer stands, of the same account."""
    vector: Annotated[bytes, Meta(max_length=16_384)]
    """16-bit floats, the least byte first."""
    until_ms: Count
    """When the answer is gone, in Unix milliseconds."""


class CacheNear(Struct, frozen=True, kw_only=True, tag="near", tag_field="type"):
    """Questions that agree in everything but their words, the oldest first."""

    until_ms: Count
    questions: Annotated[tuple[NearQuestion, ...], Meta(max_length=256)]


class CacheRecord(Wire, frozen=True, kw_only=True, tag="cache.record.v1"):
    """What stands under a key, sealed: a record that another has made, or that stood elsewhere, is none."""

    seal: Annotated[str, Meta(max_length=64)]
    """A MAC over the place and the body, in hex."""
    body: CacheClaim | CacheAnswer | CacheVoid | CacheNear


CACHE_MESSAGES: Final[tuple[type[Wire], ...]] = (CacheRecord,)
"""Every message of this module."""
