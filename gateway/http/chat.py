"""``POST /v1/chat/completions``: a request becomes a task on the mesh, and the task's events become the answer."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.http.body import read_json_body
from gateway.http.chat_answer import DONE, ChunkFrames, whole_answer
from gateway.http.chat_request import read_chat_request
from gateway.http.errors import ApiError, from_end, unavailable
from gateway.http.event_stream import EventStream
from gateway.http.following import Follower
from gateway.http.site import TASK_KEY
from gateway.http.submitting import submit
from gateway.http.task_calls import cancel_quietly
from gateway.http.wishes import read_wishes
from mesh.errors import BusError
from streams.events import TaskChunk
from streams.subjects import TaskKey
from streams.task_id import new_task_id

if TYPE_CHECKING:
    from gateway.http.chat_request import ChatRequest
    from gateway.http.site import Site
    from gateway.http.wishes import Wishes
    from mesh.answer import Step

HOLD_S: Final = 5.0
"""How long a stream waits with its head for the first words, so that a task that fails at once is a proper 4xx."""

OVERDUE_MS: Final = 15_000
"""How long after its deadline a task is given up: by then its dispatcher should have ended it."""


class ChatCompletions:
    """The handler."""

    def __init__(self, site: Site) -> None:
        """Serve for ``site``."""
        self._site = site

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        site = self._site
        asked = read_chat_request(await read_json_body(request, site.settings))
        if not site.is_known(asked.model):
            message = f"The model `{asked.model}` does not exist on this mesh; GET /v1/models lists those that do."
            raise ApiError(404, message, code="model_not_found", param="model")
        wishes = read_wishes(request, asked.service_tier, site.defaults)
        key = TaskKey(site.account, wishes.task or new_task_id())
        request[TASK_KEY] = key.task
        task = asked.submission(wishes.deadline_at_ms)
        submitted = await submit(site.bus, key, task, wishes.urgency, may_exist=wishes.task is not None)
        after = wishes.after if asked.stream else 0
        exchange = _Exchange(site, request, key, asked, wishes)
        with Follower(site.bus.source, key, watch=submitted.watch, after=after) as follower:
            return await (exchange.stream(follower) if asked.stream else exchange.whole(follower))


class _Exchange:
    """One request and its task."""

    def __init__(self, site: Site, request: web.Request, key: TaskKey, asked: ChatRequest, wishes: Wishes) -> None:
        self._site = site
        self._request = request
        self._key = key
        self._asked = asked
        self._wishes = wishes

    async def whole(self, follower: Follower) -> web.Response:
        """Wait for the end and answer with all of it."""
        texts: list[str] = []
        while not follower.is_over:
            steps = await follower.steps()
            texts += [step.event.text for step in steps if isinstance(step.event, TaskChunk)]
            if self._request.transport is None:
                return self._hung_up()
            if not steps:
                self._check_clock()
        if follower.state.outcome != "completed":
            raise from_end(follower.state)
        body = whole_answer(self._key.task, self._asked.model, "".join(texts), follower.state)
        return web.Response(body=body, headers={"Content-Type": "application/json"})

    async def stream(self, follower: Follower) -> web.StreamResponse:
        """Send the answer as it is written."""
        stream = EventStream(self._request, self._site.settings.sse_keep_alive)
        frames = ChunkFrames(
            self._key.task, self._asked.model, include_usage=self._asked.include_usage, after=self._wishes.after
        )
        with contextlib.suppress(ConnectionError):
            try:
                await self._pass_on(follower, stream, frames)
            except (ApiError, BusError) as error:
                if not stream.is_open:
                    raise
                await stream.send(frames.failure(_as_api_error(error)))
        return stream.response or web.Response(status=499)

    async def _pass_on(self, follower: Follower, stream: EventStream, frames: ChunkFrames) -> None:
        try:
            while not follower.is_over:
                steps = await follower.steps()
                data = b"".join([frames.write(step) for step in steps])
                if not stream.is_open and _has_failed(steps):
                    raise from_end(follower.state)
                if data:
                    await stream.send(data)
                elif not steps:
                    await self._idle(stream)
            if not stream.is_open:
                await stream.send(DONE)
        except ConnectionError:
            self._hung_up()
            raise

    async def _idle(self, stream: EventStream) -> None:
        self._check_clock()
        if not stream.is_open and stream.quiet_s >= HOLD_S:
            await stream.send(b": waiting for the first words\n\n")
        else:
            await stream.keep_alive()

    def _check_clock(self) -> None:
        if time.time_ns() // 1_000_000 > self._wishes.deadline_at_ms + OVERDUE_MS:
            message = f"The mesh does not answer; GET /v1/tasks/{self._key.task} shows whether it still does."
            raise ApiError(504, message, code="deadline_exceeded")

    def _hung_up(self) -> web.Response:
        if self._wishes.on_disconnect == "cancel" and not self._site.is_stopping:
            self._site.spawn(cancel_quietly(self._site.bus, self._key, "the client hung up"))
        return web.Response(status=499)


def _has_failed(steps: list[Step]) -> bool:
    return bool(steps) and steps[-1].state.is_over and steps[-1].state.outcome != "completed"


def _as_api_error(error: ApiError | BusError) -> ApiError:
    return error if isinstance(error, ApiError) else unavailable(f"The mesh cannot be reached now: {error}")
