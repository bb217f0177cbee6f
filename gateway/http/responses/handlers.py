"""``/v1/responses/{id}``: a response read again, whole or as the rest of its stream, cancelled, deleted; its input."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from gateway.auth.caller import CALLER_KEY, caller_with
from gateway.http.errors import ApiError
from gateway.http.exchange import Exchange
from gateway.http.following import LAG_S, Follower
from gateway.http.invalid_body import explain
from gateway.http.measuring import Measure
from gateway.http.responses.frames import ResponseFrames
from gateway.http.responses.items import Page, page_of
from gateway.http.responses.objects import Deleted, response_id
from gateway.http.responses.question import Again
from gateway.http.site import TASK_KEY
from gateway.http.task_calls import cancel
from gateway.http.wishes import Wishes
from mesh.bus.answer import AnswerText, Reader
from mesh.bus.headers import TRACEPARENT

if TYPE_CHECKING:
    from gateway.http.responses.deletions import Deletions
    from gateway.http.responses.history import History, Kept
    from gateway.http.site import Site
    from streams.access.events import Right

_JSON: Final = {"Content-Type": "application/json"}
_PAUSE_S: Final = 0.1
_NO_DEADLINE_MS: Final = 2**53
"""Reading again has no end of its own: what was asked has one, and is ended by it."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What is wanted of a response: how it stands, or its events behind a number."""

    stream: bool = False
    starting_after: Annotated[int, Meta(ge=-1, le=2**53)] | None = None


_Asked = TypeVar("_Asked", Wanted, Page)


class Responses:
    """The handlers."""

    def __init__(self, site: Site, history: History, deletions: Deletions) -> None:
        """Serve for ``site``."""
        self._site = site
        self._history = history
        self._deletions = deletions

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Answer with a response as it stands, or stream its events."""
        kept = await self._kept(request, "read")
        wanted = _query(request, Wanted)
        if wanted.stream:
            return await self._stream(request, kept, -1 if wanted.starting_after is None else wanted.starting_after)
        return await self._standing(kept)

    async def items(self, request: web.Request) -> web.Response:
        """Answer with what it was asked with."""
        kept = await self._kept(request, "read")
        page = page_of(kept, _query(request, Page))
        return web.Response(body=msgspec.json.encode(page), headers=_JSON)

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel the task, and answer with the response as it ended, which may be that it was whole before."""
        kept = await self._kept(request, "chat")
        await cancel(self._site.bus, kept.key, "cancelled over HTTP")
        return await self._standing(kept, ended=True)

    async def delete(self, request: web.Request) -> web.Response:
        """Show a response no more; one that still runs is cancelled."""
        kept = await self._kept(request, "chat")
        reader = Reader(self._site.bus.source, kept.key)
        await reader.catch_up()
        if not reader.state.is_over:
            await cancel(self._site.bus, kept.key, "its response was deleted")
        await self._deletions.add(kept.key)
        return web.Response(body=msgspec.json.encode(Deleted(id=response_id(kept.key.task))), headers=_JSON)

    async def _kept(self, request: web.Request, right: Right) -> Kept:
        name = request.match_info["response"]
        kept = await self._history.find(caller_with(request, right).account, name)
        if kept is None:
            message = f"Response with id '{name[:100]}' not found."
            raise ApiError(404, message, code="response_not_found", param="response_id")
        request[TASK_KEY] = kept.key.task
        return kept

    async def _standing(self, kept: Kept, *, ended: bool = False) -> web.Response:
        """How it stands; with ``ended``, as soon as what is read here knows of the end."""
        reader, text = Reader(self._site.bus.source, kept.key), AnswerText()
        text.take(await reader.catch_up())
        give_up_at_s = asyncio.get_running_loop().time() + LAG_S
        while ended and not reader.state.is_over and asyncio.get_running_loop().time() < give_up_at_s:
            await asyncio.sleep(_PAUSE_S)
            text.take(await reader.catch_up())
        return web.Response(body=Again(kept).answer(kept.key.task, text, reader.state), headers=_JSON)

    async def _stream(self, request: web.Request, kept: Kept, after: int) -> web.StreamResponse:
        site, caller = self._site, request[CALLER_KEY]
        reached = await self._reached(kept, after)
        wishes = Wishes(urgency="standard", deadline_at_ms=_NO_DEADLINE_MS, on_disconnect="continue", after=reached)
        measure = Measure(
            site.open_answers, request.headers.get(TRACEPARENT), task=kept.key.task, model=kept.asked.model
        )
        with (
            site.limiter.ticket(caller) as ticket,
            Follower(site.bus.source, kept.key, after=reached) as follower,
            site.leaving.reading(follower),
            site.readers.reading(caller, "read", follower),
        ):
            await ticket.open_stream()
            exchange = Exchange(site, request, kept.key, Again(kept, after), wishes, measure, ticket)
            try:
                answer = await exchange.stream(follower)
            except BaseException:
                measure.end(exchange.state, failed=True)
                raise
            measure.end(exchange.state)
            return answer

    async def _reached(self, kept: Kept, after: int) -> int:
        """The counter of the last task event of which a client that has had event ``after`` has had everything.

        Raises:
            ApiError: 400 if there is no such event (yet).
        """
        if after < 0:
            return 0
        frames = ResponseFrames(kept.key.task, kept.asked, kept.terms)
        reader, reached = Reader(self._site.bus.source, kept.key), 0
        give_up_at_s = asyncio.get_running_loop().time() + LAG_S
        while True:
            for step in await reader.catch_up():
                frames.resume([step])
                if frames.next_number <= after + 1:
                    reached = step.event.n
            if frames.next_number > after:
                return reached
            if asyncio.get_running_loop().time() > give_up_at_s or reader.state.is_over:
                latest = frames.next_number - 1
                message = f"starting_after {after} lies ahead of the response, whose latest event is {latest}."
                raise ApiError(400, message, code="invalid_value", param="starting_after")
            await asyncio.sleep(_PAUSE_S)


def _query(request: web.Request, kind: type[_Asked]) -> _Asked:
    try:
        return msgspec.convert(dict(request.query), kind, strict=False)
    except msgspec.ValidationError as error:
        raise explain(error) from error
