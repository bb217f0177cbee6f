"""Any stored message as a value that prints as one line of JSON, whichever stream it stands in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from mesh.headers import CONTENT_TYPE, header
from streams.codec import decode, decode_device_event, decode_end_event, decode_model_event, decode_task_event
from streams.errors import UndecodableEvent
from streams.events import TaskSubmitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.stream_facts import Recorded
    from streams.events import AnyEvent


class EventLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stored message. ``event`` is the event with its ``type``; ``raw`` stands for what cannot be read as one."""

    stream: str
    sequence: int
    time: datetime
    subject: str
    event: object = None
    error: str = ""
    raw: bytes = b""


_DECODERS: Final[dict[str, Callable[[bytes], AnyEvent]]] = {
    "results": decode_task_event,
    "ended": decode_end_event,
    "models": decode_model_event,
    "devices": decode_device_event,
}


def event_of(recorded: Recorded) -> AnyEvent:
    """Read a stored message as the event that its subject promises.

    Raises:
        UndecodableEvent: if it is none.
    """
    family = recorded.subject.partition(".")[0]
    if family == "tasks":
        return decode(recorded.data, TaskSubmitted, content_type=header(recorded.headers, CONTENT_TYPE))
    decoder = _DECODERS.get(family)
    if decoder is None:
        raise UndecodableEvent(f"nobody knows what stands on {family}.>")
    return decoder(recorded.data)


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
