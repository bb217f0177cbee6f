"""``POST /v1/chat/completions``: a request becomes a task on the mesh, and the task's events become the answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.auth.caller import caller_with, need_model
from gateway.http.admission import Asked, admit
from gateway.http.body import read_json_body
from gateway.http.cached_chat import CachedChat, note_bypass
from gateway.http.chat_request import price_of, read_chat_request
from gateway.http.errors import ApiError
from gateway.http.exchange import Exchange
from gateway.http.following import Follower
from gateway.http.measuring import Measure
from gateway.http.site import TASK_KEY
from gateway.http.submitting import submit
from gateway.http.wishes import idempotency_key, read_wishes
from mesh.access.passed_mark import PASSED, passed_mark
from streams import subjects

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.http.admission import Admitted
    from gateway.http.cache_part import Part
    from gateway.http.chat_request import ChatRequest
    from gateway.http.site import Site
    from gateway.http.wishes import Wishes
    from gateway.limits.ticket import Ticket
    from mesh.bus.live import Watch
    from streams.subjects import TaskKey


class ChatCompletions:
    """The handler."""

    def __init__(self, site: Site) -> None:
        """Serve for ``site``."""
        self._site = site

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        site = self._site
        caller = caller_with(request, "chat")
        body = await read_json_body(request, site.settings)
        asked = read_chat_request(body)
        need_model(caller, asked.model)
        if not site.is_known(asked.model):
            message = f"The model `{asked.model}` does not exist on this mesh; GET /v1/models lists those that do."
            raise ApiError(404, message, code="model_not_found", param="model")
        wishes = read_wishes(request, asked.service_tier, site.defaults_of(caller.account))
        goes_on = bool(asked.stream and wishes.after)
        question = Asked(
            account=caller.account,
            path=request.path,
            body=body,
            model=asked.model,
            wishes=wishes,
            goes_on=goes_on,
            stream=bool(asked.stream),
            price=partial(price_of, asked, answer_tokens=site.settings.answer_tokens),
        )
        with site.limiter.ticket(caller) as ticket:
            said = site.caching.may_use(request, asked, wishes)
            if said is None:
                note_bypass(site, request)
                return await self._generated(request, asked, question, ticket, None)
            task = asked.submission(wishes.deadline_at_ms, wishes.rules)
            cached = CachedChat(
                site, request, asked, question, ticket, site.caching.ask(caller.account, task, wishes, said)
            )
            return await cached.answer(self._generated)

    async def _generated(
        self, request: web.Request, asked: ChatRequest, question: Asked, ticket: Ticket, part: Part | None
    ) -> web.StreamResponse:
        """Have the answer written by a task, or follow the task that writes it."""
        site, wishes = self._site, question.wishes
        admitted = None if part is None else await part.admitted(question.account, ticket, stream=question.stream)
        if admitted is None:
            admitted = await admit(site, question, idempotency_key(request), ticket)
        request[TASK_KEY] = admitted.key.task
        measure = Measure(site, request, task=admitted.key.task, model=asked.model)
        exchange = Exchange(site, request, admitted.key, asked, wishes, measure, ticket, part)
        try:
            answer = await self._answer(exchange, admitted, asked, wishes, measure, ticket, part)
        except BaseException:
            measure.end(exchange.state, failed=True)
            raise
        finally:
            if part is not None:
                part.ended(admitted.key)
        measure.end(exchange.state)
        return answer

    async def _answer(
        self,
        exchange: Exchange,
        admitted: Admitted,
        asked: ChatRequest,
        wishes: Wishes,
        measure: Measure,
        ticket: Ticket,
        part: Part | None,
    ) -> web.StreamResponse:
        watch = None if admitted.exists else await self._submit(admitted, asked, wishes, measure, ticket)
        if part is not None:
            part.begun()
        site, after = self._site, wishes.after if asked.stream else 0
        with (
            Follower(site.bus.source, admitted.key, watch=watch, after=after, only_whole=not asked.stream) as follower,
            site.leaving.reading(follower),
            site.readers.reading(exchange.caller, "chat", follower),
        ):
            return await (exchange.stream(follower) if asked.stream else exchange.whole(follower))

    async def _submit(
        self, admitted: Admitted, asked: ChatRequest, wishes: Wishes, measure: Measure, ticket: Ticket
    ) -> Watch | None:
        """Store the task; None means that it was stored before."""
        site, key = self._site, admitted.key
        # Counted first: whoever asks while this one is being stored finds it counted.
        site.gate.opened(key, asked.model, wishes.urgency, deadline_at_ms=wishes.deadline_at_ms)
        site.limiter.keep(key, ticket, deadline_at_ms=wishes.deadline_at_ms)
        watch = None
        try:
            watch = await submit(
                site.bus,
                key,
                asked.submission(wishes.deadline_at_ms, wishes.rules),
                wishes.urgency,
                headers=(*measure.bus_headers, self._mark(admitted.key, wishes)),
                may_exist=admitted.may_exist,
            )
        finally:
            if watch is None:
                site.gate.dropped(key)
                site.limiter.drop(key, ticket)
        return watch

    def _mark(self, key: TaskKey, wishes: Wishes) -> tuple[str, str]:
        """Tell the dispatchers that the task has paid here."""
        return PASSED, passed_mark(self._site.sessions, subjects.submitted(wishes.urgency, key))
