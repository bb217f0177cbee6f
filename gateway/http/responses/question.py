"""``POST /v1/responses`` as the flow of all APIs sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from gateway.http.errors import from_task_error
from gateway.http.file_search.finder import Finder
from gateway.http.request_pictures import Pictures
from gateway.http.responses.conversation import demands_of, messages_of, picture_urls, search_of
from gateway.http.responses.frames import ResponseFrames
from gateway.http.responses.objects import PREFIX, response_of
from gateway.http.responses.request import read_response_request
from gateway.intake.demands import demand_error
from gateway.limits.price import price_of_task
from streams.events import TaskSubmitted
from streams.tasks.chat import Message, Sampling
from streams.tasks.response_terms import MetadataPair, ResponseTerms

if TYPE_CHECKING:
    from gateway.http.cache.use import CacheUse
    from gateway.http.chat.request import ServiceTier
    from gateway.http.responses.history import History, Kept
    from gateway.http.responses.request import ResponseRequest
    from gateway.http.site import Site
    from gateway.limits.ticket import Price
    from mesh.access.caller import Caller
    from mesh.bus.answer import AnswerText
    from streams.subjects import ServiceClass, TaskKey
    from streams.tasks.placing import Rules
    from streams.tasks.task import TaskState
    from streams.tokens import Token

_encode: Final = msgspec.json.Encoder().encode


class ResponseQuestion:
    """A response that is asked for."""

    is_length_usual = False

    def __init__(
        self,
        request: ResponseRequest,
        draft: TaskSubmitted,
        terms: ResponseTerms,
        pictures: Pictures,
        finder: Finder | None,
    ) -> None:
        """Ask what ``request`` says: ``draft`` is the task, but for what is fetched or found before that."""
        self._finder = finder
        self._request = request
        self._pictures = pictures
        self.draft = draft
        self._terms = terms
        self.model = request.model
        self.is_streamed = bool(request.stream)
        self.is_background = terms.background
        # Each is a thing of its own, which is read again, gone on from and deleted by its id.
        self.cache_use: CacheUse = "never"
        self.service_tier: ServiceTier | None = request.service_tier
        self.urgency: ServiceClass = "interactive"

    def price(self, answer_tokens: int) -> Price:
        """What it may use: what was said before counts too, since the model reads it again."""
        price = price_of_task(self.draft, answer_tokens=answer_tokens)
        return price if self._finder is None else self._finder.price(price)

    async def submission(self, deadline_at_ms: int, rules: Rules | None) -> TaskSubmitted:
        """The task that it asks for.

        Raises:
            ApiError: if a picture cannot be fetched, or is none, or files cannot be searched.
        """
        messages = self.draft.messages
        if self._pictures.to_fetch:
            own = messages_of(self._request.input, await self._pictures.all_there())
            messages = (*messages[: len(messages) - len(own)], *own)
        asked = replace(self.draft, messages=messages, deadline_at_ms=deadline_at_ms, rules=rules)
        if self._finder is not None:
            asked = await self._finder.ground(asked, self.urgency)
            self.draft = replace(self.draft, grounding=asked.grounding)
        return asked

    async def recall(self, key: TaskKey) -> None:
        """Take from the log what was found for a task that was stored before."""
        if self._finder is not None:
            self.draft = replace(self.draft, grounding=await self._finder.recall(key))

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Write a ``response``."""
        return _encode(response_of(task, self.draft, self._terms, text, state))

    def frames(self, task: Token) -> ResponseFrames:
        """A writer of typed events."""
        return ResponseFrames(task, self.draft, self._terms)


class Again:
    """A response that is read again: nothing is asked any more."""

    def __init__(self, kept: Kept, after: int = -1) -> None:
        """Read ``kept`` behind the event of number ``after``."""
        self._kept = kept
        self._after = after

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Write the ``response`` as it stands."""
        return _encode(response_of(task, self._kept.asked, self._kept.terms, text, state))

    def frames(self, task: Token) -> ResponseFrames:
        """A writer of the events behind that number."""
        return ResponseFrames(task, self._kept.asked, self._kept.terms, after=self._after, tells_failures=True)


class ResponseReader:
    """Reads requests; what was said before comes from the log."""

    def __init__(self, history: History) -> None:
        """Look up earlier responses in ``history``."""
        self._history = history

    async def read(self, site: Site, caller: Caller, body: bytes) -> ResponseQuestion:
        """Read a request.

        Raises:
            ApiError: 400, naming the parameter that is wrong.
            BusError: if an earlier response cannot be read now.
        """
        request = read_response_request(body)
        previous = request.previous_response_id
        earlier = () if previous is None else await self._history.turns(caller.account, previous)
        instructions = () if request.instructions is None else (Message(role="system", content=request.instructions),)
        terms = ResponseTerms(
            previous=None if previous is None else previous.removeprefix(PREFIX),
            instructed=bool(instructions),
            earlier=len(earlier),
            metadata=tuple([MetadataPair(name=name, text=text) for name, text in (request.metadata or {}).items()]),
            stored=request.store is not False,
            background=bool(request.background),
            max_tool_calls=request.max_tool_calls,
        )
        sampling = Sampling(max_tokens=request.max_output_tokens, temperature=request.temperature, top_p=request.top_p)
        pictures = Pictures(picture_urls(request.input), site.fetcher)
        tools, output_format = demands_of(request)
        draft = TaskSubmitted(
            model=request.model,
            messages=(*instructions, *earlier, *messages_of(request.input, pictures.here)),
            sampling=sampling,
            tools=tools,
            format=output_format,
            response=terms,
        )
        if (error := demand_error(draft)) is not None:
            raise from_task_error(error)
        search = search_of(request)
        finder = None if search is None else Finder(site, caller, search, draft)
        return ResponseQuestion(request, draft, terms, pictures, finder)
