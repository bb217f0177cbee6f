"""One request and its task: the task's events become a whole answer, or a stream."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.auth.caller import CALLER_KEY
from gateway.http.api import OfVectors
from gateway.http.errors import ApiError, from_end, stopping, unavailable
from gateway.http.event_stream import KEEP_ALIVE, EventStream
from gateway.http.task_calls import cancel_quietly
from gateway.http.wishes import LAST_EVENT_ID, TASK
from mesh.bus.answer import AnswerText
from mesh.errors import BusError
from streams.clock import now_ms
from streams.events import TaskChunk
from streams.tasks.task import TaskState

if TYPE_CHECKING:
    from gateway.http.api import Answerable, Frames
    from gateway.http.cache.part import Part
    from gateway.http.following import Following
    from gateway.http.measuring import Measure
    from gateway.http.site import Site
    from gateway.http.wishes import Wishes
    from gateway.limits.ticket import Ticket
    from mesh.access.caller import Caller
    from mesh.bus.answer import Step
    from streams.subjects import TaskKey

HOLD_S: Final = 5.0
"""How long a stream waits with its head for the first words, so that a task that fails at once is a proper 4xx."""

OVERDUE_MS: Final = 15_000
"""How long after its deadline a task is given up: by then its dispatcher should have ended it."""


class Exchange:
    """Answers one request. ``state`` is what its client has seen of the task."""

    def __init__(
        self,
        site: Site,
        request: web.Request,
        key: TaskKey,
        asked: Answerable,
        wishes: Wishes,
        measure: Measure,
        ticket: Ticket,
        part: Part | None = None,
    ) -> None:
        """Prepare; ``part`` is the client's in an answer that is kept for others too."""
        self._site = site
        self._request = request
        self._key = key
        self._asked = asked
        self._wishes = wishes
        self._measure = measure
        self._ticket = ticket
        self._part = part
        self._is_of_its_kind = isinstance(asked, OfVectors)
        """Whether what comes can be answered with; vectors say so themselves, when they are whole."""
        self.state = TaskState()

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self._request[CALLER_KEY]

    @property
    def has_failed(self) -> bool:
        """Whether it has ended without a whole answer."""
        return _has_failed(self.state)

    async def whole(self, follower: Following) -> web.Response:
        """Wait for the end and answer with all of it.

        Raises:
            ApiError: if no whole answer comes, or this gateway stops before it does.
            BusError: if the streams cannot be read for long.
        """
        text = AnswerText()
        while not follower.is_over:
            steps = await self._next(follower)
            text.take(steps)
            if self._request.transport is None:
                self._hung_up()
                return web.Response(status=499)
            if self._site.leaving.is_over and not follower.is_over:
                raise stopping(f"Send the request again, with {TASK}: {self._key.task}, to another one.")
            if not steps:
                self._check_clock()
        if self.state.outcome != "completed":
            raise from_end(self.state)
        if self._part is not None:
            self._part.given()
        return self._json(text)

    async def standing(self, follower: Following) -> web.Response:
        """Answer with how it stands: ``follower`` has not been asked yet.

        Raises:
            BusError: if the streams cannot be read for long.
        """
        text = AnswerText()
        text.take(await self._next(follower))
        return self._json(text)

    def begun(self) -> web.Response:
        """Answer that it has begun."""
        return self._json(AnswerText())

    async def stream(self, follower: Following) -> web.StreamResponse:
        """Send the answer as it is written.

        Raises:
            ApiError: if it is known before the first words that no answer comes.
            BusError: if the streams cannot be read for long, before the first words.
        """
        stream = EventStream(self._request, self._site.settings.sse_keep_alive)
        frames = self._asked.frames(self._key.task)
        with contextlib.suppress(ConnectionError):
            try:
                await self.pass_on(follower, stream, frames)
            except (ApiError, BusError) as error:
                if not stream.is_open:
                    raise
                await stream.send(frames.failure(_as_api_error(error)))
        return stream.response or web.Response(status=499)

    async def pass_on(self, follower: Following, stream: EventStream, frames: Frames) -> None:
        """Write a stream to its end, which may carry other answers as well.

        Raises:
            ApiError: if no answer comes, and the client has not been told of it.
            BusError: if the streams cannot be read for long.
            ConnectionError: if the client has gone.
        """
        try:
            steps = await self._first(follower, frames)
            while True:
                if not stream.is_open and not frames.tells_failures and _has_failed(self.state):
                    raise from_end(self.state)
                if await self._send(steps, stream, frames):
                    return
                if follower.is_over:
                    break
                if self._site.leaving.is_over:
                    await self._send_on(follower, stream, frames)
                    return
                steps = await self._next(follower)
            if not stream.is_open:
                await stream.send(frames.last)
            if self._part is not None and not self.has_failed:
                self._part.given()
        except ConnectionError:
            self._hung_up()
            raise

    async def _send(self, steps: list[Step], stream: EventStream, frames: Frames) -> bool:
        """Send what is told of these steps; True if that was the last that this stream can say."""
        restart = next((index for index in range(len(steps) - 1, -1, -1) if steps[index].restarts), None)
        if restart is not None:
            if not frames.has_text:
                # Nobody has seen what is void, and nobody need.
                frames.skip(steps[:restart])
            elif told := frames.restart(self._restarted(), steps[: restart + 1]):
                await stream.send(told)
                return True
            steps = steps[restart:]
        data = b"".join([frames.write(step) for step in steps])
        if data:
            if frames.has_text:
                self._measure.first_token()
            await stream.send(data)
        elif not steps and not self.state.is_over:
            await self._idle(stream, frames)
        return False

    async def _first(self, follower: Following, frames: Frames) -> list[Step]:
        if not self._wishes.after:
            return await self._next(follower)
        steps = await follower.first_steps()
        self._check_kind(steps)
        self._note(follower.state)
        frames.resume(follower.behind)
        return steps

    async def _next(self, follower: Following) -> list[Step]:
        steps = await follower.steps()
        self._check_kind(steps)
        if self._part is not None:
            self._part.take(steps)
        self._note(follower.state)
        return steps

    def _check_kind(self, steps: list[Step]) -> None:
        """Refuse vectors where text is wanted: the client has named a task that was another one."""
        if self._is_of_its_kind:
            return
        for step in steps:
            if isinstance(step.event, TaskChunk):
                if step.event.vectors is not None:
                    message = f"Task {self._key.task} was another one: it makes vectors. Choose a new {TASK}."
                    raise ApiError(400, message, code="invalid_value", param=TASK)
                self._is_of_its_kind = True
                return

    def _json(self, text: AnswerText) -> web.Response:
        body = self._asked.answer(self._key.task, text, self.state)
        return web.Response(body=body, headers={"Content-Type": "application/json"})

    def _note(self, state: TaskState) -> None:
        self.state = state
        if state.is_over:
            # Before the client hears of it: its next request finds room.
            self._site.gate.dropped(self._key)
            self._ticket.close_stream()

    async def _idle(self, stream: EventStream, frames: Frames) -> None:
        self._check_clock()
        if not stream.is_open and stream.quiet_s >= HOLD_S:
            await stream.send(frames.comment(b"waiting for the first words"))
        else:
            await stream.keep_alive(frames.comment(KEEP_ALIVE))

    async def _send_on(self, follower: Following, stream: EventStream, frames: Frames) -> None:
        """Tell the reader where to go on, since this gateway stops."""
        where = f"the same request with {TASK}: {self._key.task}"
        if not frames.has_text:
            error = stopping(f"Ask another one: {where}.")
            if not stream.is_open:
                raise error
            await stream.send(frames.failure(error))
            return
        error = stopping(f"Go on at another one: {where} and {LAST_EVENT_ID}: {follower.reached}.")
        await stream.send(frames.failure(error, n=follower.reached))

    def _restarted(self) -> ApiError:
        task = self._key.task
        message = (
            "The answer begins again on another node, and what was sent so far is void, which this stream cannot take "
            f"back. Send the same request with {TASK}: {task} for the whole answer, or read /v1/tasks/{task}/events."
        )
        return ApiError(500, message, code="answer_restarted")

    def _check_clock(self) -> None:
        if now_ms() > self._wishes.deadline_at_ms + OVERDUE_MS:
            message = f"The mesh does not answer; GET /v1/tasks/{self._key.task} shows whether it still does."
            raise ApiError(504, message, code="deadline_exceeded")

    def _hung_up(self) -> None:
        if self._wishes.on_disconnect != "cancel" or self._site.leaving.has_begun:
            return
        if self._part is None or self._part.is_alone:
            self._site.spawn(self._cancel())

    async def _cancel(self) -> None:
        # Others may wait for the same answer, at other gateways too.
        if self._part is None or await self._part.abandon():
            await cancel_quietly(self._site.bus, self._key, "the client hung up")


def _has_failed(state: TaskState) -> bool:
    return state.is_over and state.outcome != "completed"


def _as_api_error(error: ApiError | BusError) -> ApiError:
    return error if isinstance(error, ApiError) else unavailable(f"The mesh cannot be reached now: {error}")
