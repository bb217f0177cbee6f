"""What is stored about tasks, for people who look after a mesh: the latest tasks, one task, and where each stands."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from mesh.bus.task_log import decoded
from mesh.errors import TaskRefused
from mesh.history.ordered import OrderedReader
from mesh.history.stream_facts import last_message, last_messages, message_range
from mesh.inspection.stored_event import event_of
from mesh.inspection.task_name import of_several, parse_task_name
from streams import subjects
from streams.codec import decode_end_event, decode_task_event
from streams.errors import InvalidSubject, InvalidTaskId, NewerEvent, UndecodableEvent
from streams.events import (
    EndEvent,
    TaskAccepted,
    TaskAssigned,
    TaskCompleted,
    TaskEnded,
    TaskEvent,
    TaskHalted,
    TaskQueued,
    TaskRequeued,
    TaskSubmitted,
)
from streams.subjects import MESH, SERVICE_CLASSES, ServiceClass, TaskKey
from streams.tasks.task import closing
from streams.tasks.task_id import bucket_of
from streams.tokens import Token
from streams.topology import ENDED, TASKS, results_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.bus.service_bus import Bus
    from mesh.history.stream_facts import Recorded

LAST: Final = "last"
"""What a person writes for the task that was submitted last."""

AMBIGUOUS: Final = "ambiguous_task"
"""The code of the refusal of an id that several accounts have a task of."""

_PAGE: Final = 200
_WAIT_S: Final = 5.0
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_MOST_OF_ONE_ID: Final = 64


class Submitted(Struct, frozen=True, kw_only=True):
    """A task as it was asked for. ``event`` is None where the body cannot be read."""

    key: TaskKey
    service_class: ServiceClass
    at: datetime
    sequence: int
    event: TaskSubmitted | None


class Standing(Struct, frozen=True, kw_only=True):
    """Where a task stands, as its last marker and its end say."""

    submitted: Submitted
    word: str
    """``submitted``, ``accepted``, ``queued``, ``running``, ``halted``, or how it ended."""
    is_over: bool = False
    node: str = ""
    detail: str = ""
    """Why it waits, was halted or failed."""
    tokens: int | None = None
    """Completion tokens, once it has ended; of texts that became vectors, theirs."""
    took: timedelta | None = None
    """From submission to end."""


class Ended(Struct, frozen=True, kw_only=True):
    """The one terminal event of a task, and when it became a fact."""

    at: datetime
    event: EndEvent


class Happened(Struct, frozen=True, kw_only=True):
    """One stored event of a task, and when the broker stored it."""

    at: datetime
    sequence: int
    writer: Token
    event: TaskEvent


async def latest(bus: Bus, *, account: Token | None = None) -> AsyncIterator[Submitted]:
    """Yield tasks, the newest first, as far back as the stream goes.

    Raises:
        BusError: if the broker does not answer.
    """
    newest = await last_message(bus.edge, TASKS)
    below = 1 if newest is None else newest.sequence + 1
    while below > 1:
        first = max(1, below - _PAGE)
        page = [one for one in await message_range(bus.edge, TASKS, first, below - first) if one.sequence < below]
        for recorded in reversed(page):
            submitted = _submitted(recorded)
            if submitted is not None and account in {None, submitted.key.account}:
                yield submitted
        below = first


async def look_up(bus: Bus, name: str) -> Submitted:
    """Return the submission of the task that a person names: as ``ID``, ``ACCOUNT/ID``, or ``last`` for the latest.

    Raises:
        InvalidTaskId: if it is none of these.
        TaskRefused: if there is no such task (any more), or several accounts have one of this id.
        BusError: if the broker does not answer.
    """
    if name != LAST:
        wanted = parse_task_name(name)
        return await find(bus, wanted.task, account=wanted.account)
    async for submitted in latest(bus):
        return submitted
    raise TaskRefused("no task was ever submitted here; `ig3 chat` makes one", code="task_not_found", status=_NOT_FOUND)


async def find(bus: Bus, task: Token, *, account: Token | None = None) -> Submitted:
    """Return a task's submission, of whichever class it is, and of whichever account where none is given.

    Raises:
        TaskRefused: if there is no such task (any more), or several accounts have one of this id and none is given.
        BusError: if the broker does not answer.
    """
    pattern = f"{bucket_of(task)}.{account or '*'}.{task}.submitted"
    filters = [f"tasks.{service_class}.{pattern}" for service_class in SERVICE_CLASSES]
    recorded = await last_messages(bus.edge, TASKS, filters, most=_MOST_OF_ONE_ID)
    found = [one for one in map(_submitted, recorded) if one is not None]
    if len(keys := {one.key for one in found}) > 1:
        raise TaskRefused(of_several(keys), code=AMBIGUOUS, status=_CONFLICT)
    if found:
        return min(found, key=lambda one: SERVICE_CLASSES.index(one.service_class))
    raise TaskRefused(
        f"there is no task {task}; `ig3 tasks` lists the latest", code="task_not_found", status=_NOT_FOUND
    )


async def standing(bus: Bus, submitted: Submitted) -> Standing:
    """Say where a task stands, without reading its text.

    Raises:
        BusError: if the broker does not answer.
    """
    try:
        marker, end = await asyncio.gather(_last_marker(bus, submitted.key), ended(bus, submitted.key))
    except NewerEvent as error:
        return Standing(submitted=submitted, word="ended", is_over=True, detail=str(error))
    return _after_marker(submitted, marker) if end is None else _after_end(submitted, end)


async def _last_marker(bus: Bus, key: TaskKey) -> TaskEvent | None:
    last = await bus.log.last_of_writer(key, MESH)
    if last is None:
        return None
    try:
        return decode_task_event(last.data)
    except UndecodableEvent:
        # Not a marker: an acknowledgement of the broker, say, that a reply subject led here.
        markers = decoded(await bus.log.read_writer(key, MESH))
        return markers[-1].event if markers else None


async def ended(bus: Bus, key: TaskKey) -> Ended | None:
    """Return how a task ended; None if it has not.

    Raises:
        BusError: if the broker does not answer.
    """
    recorded = await last_message(bus.core, ENDED, subjects.ended(key))
    return None if recorded is None else Ended(at=recorded.at, event=decode_end_event(recorded.data))


async def history(bus: Bus, key: TaskKey) -> list[Happened]:
    """Return all that is stored about a task on the way, in order, whether it counts or not.

    Raises:
        BusError: if the broker does not answer.
    """
    stream = results_stream(bucket_of(key.task), bus.options.results_streams)
    happened: list[Happened] = []
    async with OrderedReader(bus.edge, stream, filters=[subjects.results_of(key)]) as reader:
        while not reader.is_caught_up:
            happened += [one for item in await reader.take(wait_s=_WAIT_S) if (one := _happened(item)) is not None]
    return happened


def _submitted(recorded: Recorded) -> Submitted | None:
    try:
        place = subjects.parse_submitted(recorded.subject)
    except (InvalidSubject, InvalidTaskId):
        return None
    try:
        event = event_of(recorded)
    except UndecodableEvent:
        event = None
    return Submitted(
        key=place.key,
        service_class=place.service_class,
        at=recorded.at,
        sequence=recorded.sequence,
        event=event if isinstance(event, TaskSubmitted) else None,
    )


def _happened(recorded: Recorded) -> Happened | None:
    try:
        event = decode_task_event(recorded.data)
    except UndecodableEvent:
        return None
    writer = subjects.parse_result(recorded.subject).writer
    return Happened(at=recorded.at, sequence=recorded.sequence, writer=writer, event=event)


def _after_end(submitted: Submitted, end: Ended) -> Standing:
    marker, shares = closing(end.event), end.event.shares
    usage = end.event.usage if isinstance(end.event, TaskCompleted) else None
    return Standing(
        submitted=submitted,
        word=marker.outcome,
        is_over=True,
        node=shares[-1].node if shares else "",
        detail="" if marker.error is None else marker.error.message,
        tokens=usage.completion_tokens if usage and usage.completion_tokens else sum(share.tokens for share in shares),
        took=end.at - submitted.at,
    )


def _after_marker(submitted: Submitted, event: TaskEvent | None) -> Standing:
    match event:
        case TaskQueued():
            detail = f"{event.position} before it: {event.reason}"
            return Standing(submitted=submitted, word="queued", detail=detail)
        case TaskAssigned():
            return Standing(submitted=submitted, word="running", node=event.node)
        case TaskRequeued():
            return Standing(submitted=submitted, word="queued", detail=event.message)
        case TaskHalted():
            return Standing(submitted=submitted, word="halted", detail=event.reason)
        case TaskEnded():
            return Standing(submitted=submitted, word=event.outcome, is_over=True)
        case TaskAccepted():
            return Standing(submitted=submitted, word="accepted")
        case _:
            return Standing(submitted=submitted, word="submitted")
