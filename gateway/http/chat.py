"""``POST /v1/chat/completions``: a request becomes a task on the mesh, and the task's events become the answer."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.http.body import read_json_body
from gateway.http.chat_answer import DONE, ChunkFrames, whole_answer
from gateway.http.chat_request import read_chat_request
from gateway.http.errors import ApiError, from_end, unavailable
from gateway.http.event_stream import EventStream
from gateway.http.following import Follower
from gateway.http.measuring import Measure
from gateway.http.site import TASK_KEY
from gateway.http.submitting import submit
from gateway.http.task_calls import cancel_quietly
from gateway.http.wishes import read_wishes
from mesh.errors import BusError
from streams.clock import now_ms
from streams.events import TaskChunk
from streams.subjects import TaskKey
from streams.task import TaskState
from streams.task_id import new_task_id

if TYPE_CHECKING:
    from gateway.http.chat_request import ChatRequest
    from gateway.http.site import Site
    from gateway.http.wishes import Wishes
    from mesh.bus.answer import Step

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
        measure = Measure(site, request, task=key.task, model=asked.model)
        exchange = _Exchange(site, request, key, asked, wishes, measure)
        try:
            answer = await exchange.run()
        except BaseException:
            measure.end(exchange.state, failed=True)
            raise
        measure.end(exchange.state)
        return answer


class _Exchange:
    """One request and its task."""

    def __init__(
        self, site: Site, request: web.Request, key: TaskKey, asked: ChatRequest, wishes: Wishes, measure: Measure
    ) -> None:
        self._site = site
        self._request = request
        self._key = key
        self._asked = asked
        self._wishes = wishes
        self._measure = measure
        self.state = TaskState()

    async def run(self) -> web.StreamResponse:
        """Submit the task and answer."""
        task, wishes = self._asked.submission(self._wishes.deadline_at_ms), self._wishes
        watch = await submit(
            self._site.bus,
            self._key,
            task,
            wishes.urgency,
            headers=self._measure.bus_headers,
            may_exist=wishes.task is not None,
        )
        after = wishes.after if self._asked.stream else 0
        source, is_stream = self._site.bus.source, self._asked.stream
        with Follower(source, self._key, watch=watch, after=after, only_whole=not is_stream) as follower:
            return await (self._stream(follower) if is_stream else self._whole(follower))

    async def _whole(self, follower: Follower) -> web.Response:
        """Wait for the end and answer with all of it."""
        texts: list[str] = []
        while not follower.is_over:
            steps = await self._next(follower)
            texts += [step.event.text for step in steps if isinstance(step.event, TaskChunk)]
            if self._request.transport is None:
                self._hung_up()
                return web.Response(status=499)
            if not steps:
                self._check_clock()
        if self.state.outcome != "completed":
            raise from_end(self.state)
        body = whole_answer(self._key.task, self._asked.model, "".join(texts), self.state)
        return web.Response(body=body, headers={"Content-Type": "application/json"})

    async def _stream(self, follower: Follower) -> web.StreamResponse:
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
                steps = await self._next(follower)
                if not stream.is_open and _has_failed(self.state):
                    raise from_end(self.state)
                data = b"".join([frames.write(step) for step in steps])
                if data:
                    if self.state.chars:
                        self._measure.first_token()
                    await stream.send(data)
                elif not steps:
                    await self._idle(stream)
            if not stream.is_open:
                await stream.send(DONE)
        except ConnectionError:
            self._hung_up()
            raise

    async def _next(self, follower: Follower) -> list[Step]:
        steps = await follower.steps()
        self.state = follower.state
        return steps

    async def _idle(self, stream: EventStream) -> None:
        self._check_clock()
        if not stream.is_open and stream.quiet_s >= HOLD_S:
            await stream.send(b": waiting for the first words\n\n")
        else:
            await stream.keep_alive()

    def _check_clock(self) -> None:
        if now_ms() > self._wishes.deadline_at_ms + OVERDUE_MS:
            message = f"The mesh does not answer; GET /v1/tasks/{self._key.task} shows whether it still does."
            raise ApiError(504, message, code="deadline_exceeded")

    def _hung_up(self) -> None:
        if self._wishes.on_disconnect == "cancel" and not self._site.is_stopping:
            self._site.spawn(cancel_quietly(self._site.bus, self._key, "the client hung up"))


def _has_failed(state: TaskState) -> bool:
    return state.is_over and state.outcome != "completed"


def _as_api_error(error: ApiError | BusError) -> ApiError:
    return error if isinstance(error, ApiError) else unavailable(f"The mesh cannot be reached now: {error}")
