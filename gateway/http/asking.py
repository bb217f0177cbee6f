"""Whatever API asks: a request becomes a task on the mesh, and the task's events become the answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.auth.caller import caller_with
from gateway.http.admission import Asked, admit
from gateway.http.api import Grounded, Prepared
from gateway.http.body import read_json_body
from gateway.http.cache.answer import CachedAnswer, note_bypass
from gateway.http.chat.question import ChatQuestion
from gateway.http.choices import Choices
from gateway.http.completions.question import CompletionQuestion
from gateway.http.errors import ApiError
from gateway.http.exchange import Exchange
from gateway.http.following import Follower
from gateway.http.measuring import Measure
from gateway.http.site import TASK_KEY
from gateway.http.storing import store_task
from gateway.http.wishes import idempotency_key, read_wishes
from mesh.bus.headers import TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aiohttp import web

    from gateway.http.admission import Admitted
    from gateway.http.api import Question, Read
    from gateway.http.cache.part import Part
    from gateway.http.site import Site
    from gateway.http.wishes import Wishes
    from gateway.limits.ticket import Ticket
    from mesh.bus.live import Watch


class Asking:
    """The handler of one API."""

    def __init__(self, site: Site, read: Read) -> None:
        """Serve for ``site`` what ``read`` understands."""
        self._site = site
        self._read = read

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        site = self._site
        caller = caller_with(request, "chat")
        body = await read_json_body(request, site.settings)
        asked = await self._read(site, caller, body)
        asked.draft = site.need_allowed(caller, asked.draft, is_length_usual=asked.is_length_usual)
        if not await site.is_known(asked.model):
            message = f"The model `{asked.model}` does not exist on this mesh; GET /v1/models lists those that do."
            raise ApiError(404, message, code="model_not_found", param="model")
        wishes = read_wishes(request, asked.service_tier, site.defaults_of(caller))
        if asked.is_background:
            wishes = replace(wishes, on_disconnect="continue")
        if isinstance(asked, Prepared):
            asked.urgency = wishes.urgency
        goes_on = bool(asked.is_streamed and wishes.after)
        question = Asked(
            account=caller.account,
            path=request.path,
            body=body,
            model=asked.model,
            wishes=wishes,
            goes_on=goes_on,
            stream=asked.is_streamed,
            price=partial(asked.price, site.settings.answer_tokens),
            draft=asked.draft,
        )
        with site.limiter.ticket(caller) as ticket:
            said = site.caching.may_use(request, asked.cache_use, wishes)
            if said is None:
                note_bypass(site, request)
                return await self._generated(request, asked, question, ticket, None)
            ask = site.caching.ask(caller.account, asked.draft, wishes, said)
            return await CachedAnswer(site, request, asked, question, ticket, ask).answer(self._generated)

    async def _generated(
        self, request: web.Request, asked: Question, question: Asked, ticket: Ticket, part: Part | None
    ) -> web.StreamResponse:
        """Have the answer written by a task, or follow the task that writes it."""
        site, wishes = self._site, question.wishes
        admitted = None if part is None else await part.admitted(question.account, ticket, stream=question.stream)
        if admitted is None:
            admitted = await admit(site, question, idempotency_key(request), ticket)
        request[TASK_KEY] = admitted.key.task
        measure = Measure(
            site.open_answers, request.headers.get(TRACEPARENT), task=admitted.key.task, model=asked.model
        )
        if isinstance(asked, ChatQuestion | CompletionQuestion) and asked.choices > 1:
            several = Choices(site, request, asked, question, admitted, measure)
            return await _measured(measure, several, several.respond(ticket))
        exchange = Exchange(site, request, admitted.key, asked, wishes, measure, ticket, part)
        try:
            answering = self._answer(exchange, admitted, asked, wishes, measure, ticket, part)
            return await _measured(measure, exchange, answering)
        finally:
            if part is not None:
                part.ended(admitted.key)

    async def _answer(
        self,
        exchange: Exchange,
        admitted: Admitted,
        asked: Question,
        wishes: Wishes,
        measure: Measure,
        ticket: Ticket,
        part: Part | None,
    ) -> web.StreamResponse:
        watch = None if admitted.exists else await self._submit(admitted, asked, wishes, measure, ticket)
        if watch is None and isinstance(asked, Grounded):
            await asked.recall(admitted.key)
        if part is not None:
            part.begun(by_us=watch is not None)
        site, streamed = self._site, asked.is_streamed
        after = wishes.after if streamed else 0
        with (
            Follower(site.bus.source, admitted.key, watch=watch, after=after, only_whole=not streamed) as follower,
            site.leaving.reading(follower),
            site.readers.reading(exchange.caller, "chat", follower),
        ):
            if streamed:
                return await exchange.stream(follower)
            if asked.is_background:
                return exchange.begun() if watch is not None else await exchange.standing(follower)
            return await exchange.whole(follower)

    async def _submit(
        self, admitted: Admitted, asked: Question, wishes: Wishes, measure: Measure, ticket: Ticket
    ) -> Watch | None:
        """Store the task; None means that it was stored before."""
        task = asked.submission(wishes.deadline_at_ms, wishes.rules)
        return await store_task(self._site, admitted, asked.model, task, wishes, ticket, headers=measure.bus_headers)


async def _measured(
    measure: Measure, of: Exchange | Choices, answering: Awaitable[web.StreamResponse]
) -> web.StreamResponse:
    try:
        answer = await answering
    except BaseException:
        measure.end(of.state, failed=True)
        raise
    measure.end(of.state)
    return answer
