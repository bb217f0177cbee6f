"""A request whose answer may be there already, or be on its way: given again, followed, or generated and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol

from msgspec.structs import replace

from gateway.cache.answers import steps_of
from gateway.cache.flight import Flight
from gateway.cache.hits import Given
from gateway.http.cache.part import Part
from gateway.http.cache.replay import Replay
from gateway.http.errors import ApiError
from gateway.http.exchange import Exchange
from gateway.http.measuring import Measure
from gateway.http.site import CACHE_KEY, DISTANCE_KEY, TASK_KEY
from gateway.limits.ticket import Price
from mesh.bus.headers import TRACEPARENT
from streams.subjects import TaskKey
from streams.tasks.task import TaskState
from streams.tasks.task_id import new_task_id
from streams.tokens import Token

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.cache.cache import Ask
    from gateway.http.admission import Asked
    from gateway.http.api import Question
    from gateway.http.cache.similar import Similar
    from gateway.http.site import Site
    from gateway.limits.ticket import Ticket
    from streams.cache.messages import CacheAnswer

_TASKS: Final = 3
"""How many tasks of others a client waits for in vain before it is told why."""

_SERVED: Final = TaskState(outcome="completed")
"""What the metrics are told of an answer from the cache: nothing of it was generated."""


class Generate(Protocol):
    """Has an answer written by a task; with a ``part``, one that others may wait for too."""

    async def __call__(
        self, request: web.Request, asked: Question, question: Asked, ticket: Ticket, part: Part | None
    ) -> web.StreamResponse:
        """Answer the request."""
        ...


def note_bypass(site: Site, request: web.Request) -> None:
    """Say that the cache has nothing to do with a request."""
    request[CACHE_KEY] = "bypass"
    site.caching.counts.count("bypass")


class CachedAnswer:
    """One request."""

    def __init__(
        self, site: Site, request: web.Request, asked: Question, question: Asked, ticket: Ticket, ask: Ask
    ) -> None:
        """Prepare."""
        self._site = site
        self._request = request
        self._asked = asked
        self._question = question
        self._ticket = ticket
        self._ask = ask

    async def answer(self, generate: Generate) -> web.StreamResponse:
        """Answer from the cache, or by ``generate``.

        Raises:
            ApiError: as ``generate``; if others had the task submitted and it failed, only when another did too.
            LimitReached: if the client has made too many requests.
            BusError: as ``generate``.
        """
        caching, failed = self._site.caching, None
        if self._ask.is_fresh:
            note_bypass(self._site, self._request)
            return await self._generated(generate, Part(caching, self._ask, None))
        similar = await self._similar()
        if similar is not None and similar.answer is not None:
            return await self._given(similar.answer, similar.distance)
        for tried in range(1, _TASKS + 1):
            found = await caching.cache.enter(self._ask, failed=failed)
            if found is None:
                return await self._by_itself(generate)
            if not isinstance(found, Flight):
                return await self._given(found)
            part = Part(caching, self._ask, found)
            try:
                self._note("followed" if part.follows else "miss")
                answer = await self._generated(generate, part)
                self._note_given(part.hit(self._question.account, self._asked.model))
                self._remember(similar)
                return answer
            except ApiError:
                if tried == _TASKS or not part.may_be_tried_again:
                    raise
                failed = found.task
            finally:
                part.leave()
        return await self._by_itself(generate)

    async def _similar(self) -> Similar | None:
        """Look for an answer to a question that means the same; None: that is not asked for, or cannot be now."""
        shelf = self._ask.shelf
        if shelf is None or await self._site.caching.cache.answer_at(self._ask.slot) is not None:
            return None
        return await self._site.caching.similar.find(self._ask, shelf)

    def _remember(self, similar: Similar | None) -> None:
        if similar is not None and self._ask.shelf is not None:
            self._site.caching.similar.add(self._ask.shelf, similar.vector, self._ask.slot)

    async def _generated(self, generate: Generate, part: Part) -> web.StreamResponse:
        question = self._question
        if part.task is not None:
            question = question._replace(wishes=replace(question.wishes, task=part.task))
        return await generate(self._request, self._asked, question, self._ticket, part)

    async def _by_itself(self, generate: Generate) -> web.StreamResponse:
        self._request[CACHE_KEY] = "bypass"
        self._site.caching.counts.count("away" if self._site.caching.cache.is_away else "bypass")
        return await generate(self._request, self._asked, self._question, self._ticket, None)

    async def _given(self, answer: CacheAnswer, distance: float | None = None) -> web.StreamResponse:
        site, request, account = self._site, self._request, self._question.account
        await self._pay(answer)
        if distance is None:
            self._note("hit")
        else:
            self._note("similar")
            request[DISTANCE_KEY] = f"{max(0.0, distance):.4f}"
        is_own = answer.account == account
        # Nobody learns which tasks others have; and such an id would open nothing here.
        key = TaskKey(account, Token(answer.task) if is_own else new_task_id())
        if is_own:
            request[TASK_KEY] = key.task
        self._note_given(Given(answer.account, answer.task, answer.model or self._asked.model, answer.usage))
        measure = Measure(site.open_answers, request.headers.get(TRACEPARENT), task=key.task, model=self._asked.model)
        wishes = self._question.wishes
        exchange = Exchange(site, request, key, self._asked, wishes, measure, self._ticket)
        replay = Replay(steps_of(answer))
        try:
            return await (exchange.stream(replay) if self._asked.is_streamed else exchange.whole(replay))
        finally:
            measure.end(_SERVED)

    def _note_given(self, given: Given | None) -> None:
        hits = self._site.caching.hits
        if given is not None and hits is not None:
            hits.note(self._question.account, given, self._ticket.key_id)

    async def _pay(self, answer: CacheAnswer) -> None:
        """An answer from the cache is a request; its tokens count if the settings say so."""
        is_counted = self._site.caching.rules.tokens == "counted"
        usage = answer.usage
        price = Price(prompt=usage.prompt_tokens, answer=usage.completion_tokens) if is_counted else Price()
        await self._ticket.pay(lambda: price, stream=self._question.stream)
        if is_counted:
            self._ticket.keep()

    def _note(self, outcome: Literal["hit", "similar", "miss", "followed"]) -> None:
        self._request[CACHE_KEY] = "miss" if outcome == "followed" else outcome
        self._site.caching.counts.count(outcome)
