"""The part of the event catalogue that BATCHES holds: many requests in a file, answered when there is room."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from streams.event import Event
from streams.tasks.chat import Count

MOST_REQUESTS = 50_000
"""In one batch; OpenAI's limit."""

_Id = Annotated[str, Meta(max_length=64)]
_Words = Annotated[str, Meta(max_length=512)]


class LineFault(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is wrong with one line of a batch's input, counted from 1."""

    line: Annotated[int, Meta(ge=1)] | None = None
    code: Annotated[str, Meta(max_length=64)]
    message: Annotated[str, Meta(max_length=1024)]
    param: _Words | None = None


class Label(Struct, frozen=True, kw_only=True):
    """Something that the owner has noted on a batch."""

    name: Annotated[str, Meta(max_length=64)]
    value: _Words


class BatchCreated(Event, frozen=True, kw_only=True, tag="batch.created.v1"):
    """Somebody wants the requests of a file answered."""

    at_ms: int
    input_file: _Id
    endpoint: Annotated[str, Meta(max_length=64)]
    """Which API all its requests are for, such as ``/v1/chat/completions``."""
    expires_at_ms: int
    labels: Annotated[tuple[Label, ...], Meta(max_length=16)] = ()
    key_id: _Id | None = None
    """The API key that asked; None: a session, or nobody had to say."""


class BatchStarted(Event, frozen=True, kw_only=True, tag="batch.started.v1"):
    """Its input is read and can be used: so many requests."""

    at_ms: int
    requests: Annotated[int, Meta(ge=1, le=MOST_REQUESTS)]


class BatchRefused(Event, frozen=True, kw_only=True, tag="batch.refused.v1"):
    """Its input cannot be used; nothing was asked."""

    at_ms: int
    faults: Annotated[tuple[LineFault, ...], Meta(min_length=1, max_length=64)]


class BatchCancelling(Event, frozen=True, kw_only=True, tag="batch.cancelling.v1"):
    """Its owner wants no more of it; what is answered is kept."""

    at_ms: int


class BatchEnded(Event, frozen=True, kw_only=True, tag="batch.ended.v1"):
    """Nothing more comes. The files have a line for each request that was answered, or failed."""

    at_ms: int
    outcome: Literal["completed", "expired", "cancelled"]
    completed: Count
    failed: Count
    output_file: _Id | None = None
    error_file: _Id | None = None


BatchEvent = BatchCreated | BatchStarted | BatchRefused | BatchCancelling | BatchEnded
"""All that BATCHES may hold."""
