"""Ending a task: one fact in CORE that can exist once, then the marker that tells the readers, then nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from mesh.bus.appends import Fence
from mesh.errors import BusError, FenceMismatch, PublishUnknown, SubjectTaken, WrittenByNewer
from streams import subjects
from streams.clock import now_ms
from streams.codec import decode_end_event, encode
from streams.errors import NewerEvent
from streams.events import DeadKept, TaskCancelled, TaskCompleted, TaskDead, TaskFailed
from streams.tasks.task import closing
from streams.topology import ENDED

if TYPE_CHECKING:
    from gateway.dispatcher.task_run import TaskRun
    from mesh.bus.service_bus import Bus
    from streams.events import EndEvent, TaskError
    from streams.subjects import TaskKey
    from streams.tasks.task import TaskState

_TRIES: Final = 8
_PAUSE_S: Final = 0.2


async def stored_end(bus: Bus, key: TaskKey) -> EndEvent | None:
    """Return the terminal event of a task, or None while there is none.

    Raises:
        BusError: if ENDED cannot be read now.
        WrittenByNewer: if it is an end that this version cannot read.
    """
    collected = await bus.core.request(f"$JS.API.DIRECT.GET.{ENDED}.{subjects.ended(key)}", b"")
    try:
        return decode_end_event(collected.data) if collected.data else None
    except NewerEvent as error:
        raise WrittenByNewer(f"the end of task {key.task}: {error}") from error


async def settle(bus: Bus, key: TaskKey, event: EndEvent) -> EndEvent:
    """Write the terminal event, or find the one that was there first; returns the one that holds.

    Raises:
        BusError: if ENDED cannot be written or read for too long.
    """
    for _ in range(_TRIES):
        try:
            await bus.core.append(subjects.ended(key), encode(event))
        except SubjectTaken:
            found = await stored_end(bus, key)
            if found is not None:
                return found
            # A copy that lags behind the stream's leader has answered.
            await asyncio.sleep(_PAUSE_S)
        except PublishUnknown:
            await asyncio.sleep(_PAUSE_S)
        else:
            return event
    raise BusError(f"the end of task {key.task} could not be written")


async def close(bus: Bus, run: TaskRun, event: EndEvent) -> None:
    """Write the ``ended`` marker, unless it is there.

    Raises:
        Superseded: if another dispatcher does it.
        BusError: if the stream cannot be written for too long.
    """
    if isinstance(event, TaskDead):
        await _keep(bus, run.key, DeadKept(at_ms=event.at_ms, model=event.model, error=event.error))
    if not run.state.is_over:
        await run.write(lambda n: replace(closing(event), n=n))


async def _keep(bus: Bus, key: TaskKey, event: DeadKept) -> None:
    """Note the dead task for whoever looks at it, once: before its end is told, so that none is ever missed."""
    for _ in range(_TRIES):
        try:
            await bus.core.append(subjects.dead(key), encode(event), fence=Fence(subjects.dead(key), 0))
        except FenceMismatch:
            return
        except PublishUnknown:
            await asyncio.sleep(_PAUSE_S)
        else:
            return
    raise BusError(f"dead task {key.task} could not be kept")


def completed(state: TaskState, model: str) -> TaskCompleted | None:
    """Make the end of a whole answer, or None if it is not whole."""
    if state.finish_reason is None or state.usage is None:
        return None
    return TaskCompleted(
        at_ms=now_ms(),
        model=model,
        final_n=state.n,
        finish_reason=state.finish_reason,
        usage=state.usage,
        shares=state.shares,
        failures=state.failures,
    )


def failed(state: TaskState, model: str, error: TaskError) -> TaskFailed:
    """Make the end of a task that will have no whole answer."""
    return TaskFailed(at_ms=now_ms(), model=model, final_n=state.n, error=error, shares=state.shares)


def dead(state: TaskState, model: str, error: TaskError) -> TaskDead:
    """Make the end of a task whose attempts all came to nothing."""
    return TaskDead(
        at_ms=now_ms(),
        model=model,
        final_n=state.n,
        error=error,
        failures=state.failures,
        shares=state.shares,
    )


def cancelled(state: TaskState, model: str, reason: str) -> TaskCancelled:
    """Make the end of a task that its account no longer wants."""
    return TaskCancelled(at_ms=now_ms(), model=model, final_n=state.n, reason=reason, shares=state.shares)
