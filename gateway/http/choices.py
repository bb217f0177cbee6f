"""Several answers to one request: a task for each, told together in one answer or one stream.

Their ids follow from the first's, so a repeat of the request finds them all. All are let in before one is stored; each
counts, and is charged, as a request of its own.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from aiohttp import web
from msgspec.structs import replace

from gateway.auth.caller import CALLER_KEY
from gateway.errors import GatewayError
from gateway.http.admission import admit
from gateway.http.api import Grounded
from gateway.http.chat.answer import DONE
from gateway.http.errors import ApiError, unavailable
from gateway.http.event_stream import EventStream
from gateway.http.exchange import Exchange
from gateway.http.following import Follower
from gateway.http.storing import store_task
from gateway.http.task_calls import cancel_quietly
from gateway.http.wishes import LAST_EVENT_ID
from mesh.errors import BusError
from streams.tasks.chat import Usage
from streams.tasks.task import TaskState
from streams.tasks.task_id import sibling_task_id

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.http.admission import Admitted, Asked
    from gateway.http.measuring import Measure
    from gateway.http.several import Part, Several
    from gateway.http.site import Site
    from gateway.limits.ticket import Ticket
    from streams.events import TaskSubmitted
    from streams.subjects import TaskKey

T = TypeVar("T")

_OK: Final = 200


class Choices:
    """Answers one request whose first task has been let in."""

    def __init__(
        self,
        site: Site,
        request: web.Request,
        question: Several,
        asked: Asked,
        admitted: Admitted,
        measure: Measure,
    ) -> None:
        """Prepare; ``asked`` is how the first was let in."""
        self._gathering = question.gathering(admitted.key.task)
        self._site = site
        self._request = request
        self._question = question
        self._asked = asked
        self._admitted = admitted
        self._measure = measure
        self._exchanges: list[Exchange] = []

    @property
    def state(self) -> TaskState:
        """What the client has seen of all of them: how the first one stands that is not whole, and all usage."""
        states = [exchange.state for exchange in self._exchanges] or [TaskState()]
        shown = next((state for state in states if state.outcome != "completed"), states[0])
        return replace(shown, usage=_all_usage(states))

    async def respond(self, ticket: Ticket) -> web.StreamResponse:
        """Answer; ``ticket`` has paid for the first.

        Raises:
            ApiError: if one of them cannot be let in or stored, or no answer of it comes.
            LimitReached: if there is nothing left to pay for one of them.
            BusError: if the streams cannot be read for long.
        """
        if self._asked.wishes.after:
            raise _no_way_back()
        with ExitStack() as stack:
            followed = await self._follow_all(stack, ticket)
            if self._question.is_streamed:
                return await self._stream(followed)
            return await self._whole(followed)

    # --- letting in ------------------------------------------------------------------------------------------------

    async def _follow_all(self, stack: ExitStack, ticket: Ticket) -> list[_Followed]:
        site, first = self._site, self._admitted
        let_in = [(first, ticket)]
        for number in range(1, self._question.choices):
            other = stack.enter_context(site.limiter.ticket(self._request[CALLER_KEY]))
            wishes = replace(self._asked.wishes, task=sibling_task_id(first.key.task, number))
            price = partial(self._question.price_of, number, site.settings.answer_tokens)
            draft = self._question.draft_of(number)
            # One stream carries them all.
            asked = self._asked._replace(wishes=wishes, stream=False, beside=number, price=price, draft=draft)
            admitted = await admit(site, asked, None, other)
            let_in.append((admitted._replace(may_exist=first.may_exist), other))
        # Of a repeat nothing is fetched or searched, where it is known to be one.
        is_new = not all(admitted.exists for admitted, _ in let_in)
        wishes = self._asked.wishes
        tasks = await self._question.submissions(wishes.deadline_at_ms, wishes.rules) if is_new else ()
        followed: list[_Followed] = []
        try:
            for number, one in enumerate(let_in):
                task = tasks[number] if tasks else None
                followed.append(await self._follow(stack, number, task, *one))
        except BaseException:
            self._give_up(followed)
            raise
        return followed

    async def _follow(
        self, stack: ExitStack, number: int, task: TaskSubmitted | None, admitted: Admitted, ticket: Ticket
    ) -> _Followed:
        site, wishes = self._site, self._asked.wishes
        watch = None
        if task is not None and not admitted.exists:
            headers = self._measure.bus_headers
            watch = await store_task(site, admitted, task.model, _given(task), wishes, ticket, headers=headers)
        part = self._gathering.part(number)
        if watch is None and isinstance(part, Grounded):
            await part.recall(admitted.key)
        exchange = Exchange(site, self._request, admitted.key, part, wishes, self._measure, ticket)
        self._exchanges.append(exchange)
        only_whole = not self._question.is_streamed
        follower = stack.enter_context(Follower(site.bus.source, admitted.key, watch=watch, only_whole=only_whole))
        stack.enter_context(site.leaving.reading(follower))
        stack.enter_context(site.readers.reading(exchange.caller, "chat", follower))
        return _Followed(admitted.key, part, exchange, follower)

    # --- telling ---------------------------------------------------------------------------------------------------

    async def _whole(self, followed: list[_Followed]) -> web.Response:
        answers = await self._together(followed, [one.exchange.whole(one.follower) for one in followed])
        gone = next((answer for answer in answers if answer.status != _OK), None)
        if gone is not None:
            return gone
        body = self._gathering.whole(followed[0].exchange.state.model or self._question.model, self.state)
        return web.Response(body=body, headers={"Content-Type": "application/json"})

    async def _stream(self, followed: list[_Followed]) -> web.StreamResponse:
        stream = EventStream(self._request, self._site.settings.sse_keep_alive)
        first = followed[0].part.frames(self._admitted.key.task)
        with suppress(ConnectionError):
            try:
                await self._together(followed, [self._pass_on(one, stream) for one in followed])
                await stream.send(first.usage(self.state) + DONE)
            except _Failed:
                # The client has been told.
                pass
            except (ApiError, BusError) as error:
                if not stream.is_open:
                    raise
                told = error if isinstance(error, ApiError) else unavailable(f"The mesh cannot be reached now: {error}")
                await stream.send(first.failure(told))
        return stream.response or web.Response(status=499)

    async def _pass_on(self, one: _Followed, stream: EventStream) -> None:
        await one.exchange.pass_on(one.follower, stream, one.part.frames(one.key.task))
        if one.exchange.state.outcome != "completed":
            raise _Failed

    async def _together(self, followed: list[_Followed], reading: list[Coroutine[None, None, T]]) -> list[T]:
        """Read all; where one fails, nobody waits for the others any more."""
        tasks = [asyncio.create_task(each) for each in reading]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if any(one.exchange.has_failed for one in followed):
                self._give_up(followed)
            raise

    def _give_up(self, followed: list[_Followed]) -> None:
        """End those that nobody waits for, since another of them comes to nothing."""
        for one in followed:
            if not one.exchange.state.is_over:
                self._site.spawn(cancel_quietly(self._site.bus, one.key, "another choice came to nothing"))


class _Failed(GatewayError):
    """One of the choices will not be whole."""


class _Followed(NamedTuple):
    key: TaskKey
    part: Part
    exchange: Exchange
    follower: Follower


async def _given(task: TaskSubmitted) -> TaskSubmitted:
    return task


def _all_usage(states: list[TaskState]) -> Usage | None:
    used = [state.usage for state in states if state.usage is not None]
    if not used:
        return None
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in used),
        completion_tokens=sum(usage.completion_tokens for usage in used),
        cached_prompt_tokens=sum(usage.cached_prompt_tokens for usage in used),
    )


def _no_way_back() -> ApiError:
    message = (
        f"Unsupported value: '{LAST_EVENT_ID}'. A stream of several choices cannot be gone on with; ask again with the "
        "same x-ig3-task for all of it, or read the events of each task."
    )
    return ApiError(400, message, code="unsupported_value", param=LAST_EVENT_ID)
