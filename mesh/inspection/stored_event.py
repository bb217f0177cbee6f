"""Any stored message as a value that prints as one line of JSON, whichever stream it stands in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from mesh.bus.headers import CONTENT_TYPE, header
from streams.cache.messages import CacheRecord
from streams.codec import decode
from streams.errors import UndecodableEvent
from streams.events import AnyEvent, TaskSubmitted
from streams.sites import subject_at_home

if TYPE_CHECKING:
    from mesh.history.stream_facts import Recorded


class EventLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stored message. ``event`` is the event with its ``type``; ``raw`` stands for what cannot be read as one."""

    stream: str
    sequence: int
    time: datetime
    subject: str
    event: object = None
    error: str = ""
    raw: bytes = b""


_any_event: Final = msgspec.msgpack.Decoder(AnyEvent)


def event_of(recorded: Recorded) -> AnyEvent | CacheRecord:
    """Read a stored message as an event of the catalogue, or as what the cache holds.

    Raises:
        UndecodableEvent: if it is none.
    """
    if subject_at_home(recorded.subject).startswith("tasks."):
        return decode(recorded.data, TaskSubmitted, content_type=header(recorded.headers, CONTENT_TYPE))
    if recorded.subject.startswith("cache."):
        return decode(recorded.data, CacheRecord)
    try:
        return _any_event.decode(recorded.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UndecodableEvent(f"not an event of the catalogue: {error}") from error


def event_line(stream: str, recorded: Recorded) -> EventLine:
    """Describe a stored message, readable or not."""
    event, problem = None, ""
    try:
        event = event_of(recorded)
    except UndecodableEvent as error:
        problem = str(error)
    return EventLine(
        stream=stream,
        sequence=recorded.sequence,
        time=recorded.at,
        subject=recorded.subject,
        event=event,
        error=problem,
        raw=recorded.data if problem else b"",
    )
