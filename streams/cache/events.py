"""The part of the event catalogue that HITS holds: answers that were given a second time."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from streams.event import Event
from streams.tasks.chat import Usage
from streams.tasks.metering import Key

_Times = Annotated[int, Meta(ge=1, le=2**53 - 1)]
_Name = Annotated[str, Meta(max_length=64)]


class CacheHit(Event, frozen=True, kw_only=True, tag="cache.hit.v1"):
    """An account was given an answer that was generated for another request, once or several times within a moment.

    What is charged for it is a rule of whoever keeps the accounts. ``batch`` is another one in each event: one that
    stands there twice, since its acknowledgement was lost, counts once.
    """

    at_ms: int
    batch: _Name
    owner: _Name
    """The account whose task the answer was generated for."""
    task: _Name
    model: Annotated[str, Meta(max_length=256)]
    usage: Usage
    """What generating it has used, once; nothing of it was used again."""
    times: _Times
    key: Key | None = None
    """The API key that asked; None: a session, or nobody had to say."""
