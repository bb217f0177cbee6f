"""``/v1/tasks/{id}``: what a task has become, its events from any counter on, and cancelling it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.auth.caller import CALLER_KEY, caller_with
from gateway.http.chat.answer import UsageObject, usage_object
from gateway.http.errors import ApiError
from gateway.http.event_stream import KEEP_ALIVE, EventStream
from gateway.http.following import Follower
from gateway.http.site import TASK_KEY
from gateway.http.task_calls import cancel
from gateway.http.wishes import last_event_id, task_in_path, unknown_task
from mesh.bus.answer import Reader
from mesh.errors import BusError
from streams.events import AttemptShare, Outcome, TaskError
from streams.subjects import TaskKey
from streams.tasks.chat import FinishReason
from streams.tasks.task import Phase, TaskState
from streams.tasks.task_id import created_ms

if TYPE_CHECKING:
    from gateway.http.site import Site
    from mesh.bus.answer import Step
    from streams.access.events import Right

_JSON: Final = {"Content-Type": "application/json"}
_KEEP_ALIVE: Final = b": %b\n\n" % KEEP_ALIVE
_SEND_ON: Final = b"id: %d\n: this gateway stops; go on at another one with Last-Event-ID\n\n"
_BREAK: Final = b": the mesh cannot be read now; come back with Last-Event-ID\n\n"


class TaskSummary(Struct, frozen=True, kw_only=True):
    """What the events of a task add up to."""

    id: str
    object: Literal["task"] = "task"
    created: int
    model: str | None
    phase: Phase
    position: int | None
    reason: str | None
    node: str | None
    attempt: int
    n: int
    """Counter of its latest event: where a reader that comes now would go on."""
    chars: int
    finish_reason: FinishReason | None
    usage: UsageObject | None
    shares: tuple[AttemptShare, ...]
    outcome: Outcome | None
    error: TaskError | None


class Tasks:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        """Serve for ``site``."""
        self._site = site

    async def show(self, request: web.Request) -> web.Response:
        """Answer with what the task has become."""
        key = _key(request, "read")
        reader = Reader(self._site.bus.source, key)
        _, submission = await asyncio.gather(reader.catch_up(), self._site.submissions.find(key))
        if reader.state.n == 0 and submission is None:
            raise unknown_task(key.task)
        body = _summary(key, reader.state, None if submission is None else submission.asked.model)
        return web.Response(body=msgspec.json.encode(body), headers=_JSON)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send the task's events past a counter, and those to come until its end."""
        key = _key(request, "read")
        after = last_event_id(request)
        site = self._site
        with (
            site.limiter.ticket(request[CALLER_KEY]) as ticket,
            Follower(site.bus.source, key, after=after) as follower,
            site.leaving.reading(follower),
            site.readers.reading(request[CALLER_KEY], "read", follower),
        ):
            await ticket.open_stream()
            steps = await self._first(follower, key)
            if follower.is_over and not steps:
                # A browser's EventSource comes back after every end; this status tells it that there is no more.
                return web.Response(status=204)
            return await self._pass_on(request, follower, steps)

    async def _first(self, follower: Follower, key: TaskKey) -> list[Step]:
        try:
            return await follower.first_steps()
        finally:
            # Goes before whatever else is wrong: of a task that is not here no counter is right.
            if follower.state.n == 0 and not await self._site.submissions.exists(key):
                raise unknown_task(key.task)

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel the task; answers with how it ended, which may be that it was whole before."""
        key = _key(request, "chat")
        outcome = await cancel(self._site.bus, key, "cancelled over HTTP")
        if outcome.outcome == "unknown":
            raise unknown_task(key.task)
        return web.Response(body=msgspec.json.encode(CancelAnswer(id=key.task, outcome=outcome.outcome)), headers=_JSON)

    async def _pass_on(self, request: web.Request, follower: Follower, steps: list[Step]) -> web.StreamResponse:
        stream = EventStream(request, self._site.settings.sse_keep_alive)
        with contextlib.suppress(ConnectionError):
            # The head goes out at once: whoever asks for events wants to know that they will come.
            await stream.send(b"".join([event_frame(step) for step in steps]) or b": following\n\n")
            try:
                while not follower.is_over:
                    if self._site.leaving.is_over:
                        await stream.send(_SEND_ON % follower.reached)
                        break
                    steps = await follower.steps()
                    frames = b"".join([event_frame(step) for step in steps])
                    await (stream.send(frames) if frames else stream.keep_alive(_KEEP_ALIVE))
            except BusError:
                await stream.send(_BREAK)
            except ApiError as error:
                # A named event: an EventSource hears it, and does not take it for one of the task's.
                await stream.send(b"event: error\ndata: %b\n\n" % error.body())
        return stream.response or web.Response(status=499)


class CancelAnswer(Struct, frozen=True, kw_only=True):
    """How a task ended that somebody wanted to end."""

    id: str
    object: Literal["task.cancel"] = "task.cancel"
    outcome: Literal["cancelled", "completed", "failed", "dead", "unknown"]


def event_frame(step: Step) -> bytes:
    """One event as a server-sent event: all of its fields in JSON, and who wrote it."""
    body = msgspec.json.encode(step.event)
    return b'id: %d\ndata: {"writer":"%b",%b\n\n' % (step.event.n, step.writer.encode(), body[1:])


def _key(request: web.Request, right: Right) -> TaskKey:
    """The task that the path names, in the account of whoever asks."""
    key = TaskKey(caller_with(request, right).account, task_in_path(request))
    request[TASK_KEY] = key.task
    return key


def _summary(key: TaskKey, state: TaskState, model: str | None) -> TaskSummary:
    return TaskSummary(
        id=key.task,
        created=created_ms(key.task) // 1000,
        model=state.model or model,
        phase=state.phase,
        position=state.position,
        reason=state.reason,
        node=state.node,
        attempt=state.attempt,
        n=state.n,
        chars=state.chars,
        finish_reason=state.finish_reason,
        usage=None if state.usage is None else usage_object(state),
        shares=state.shares,
        outcome=state.outcome,
        error=state.error,
    )
