"""``POST /v1/chat/completions`` as the flow of all APIs sees it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.http.cache.use import cache_use_of
from gateway.http.chat.answer import ChunkFrames, whole_answer
from gateway.http.chat.choices import ChatChoices
from gateway.http.chat.messages import picture_urls
from gateway.http.chat.request import read_chat_request
from gateway.http.errors import from_task_error
from gateway.http.file_search.citing_frames import CitingFrames
from gateway.http.file_search.finder import Finder
from gateway.http.request_pictures import Pictures
from gateway.http.several import unlike
from gateway.intake.demands import demand_error
from gateway.limits.price import price_of_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.fetching.fetcher import Fetcher
    from gateway.http.cache.use import CacheUse
    from gateway.http.chat.request import ChatRequest, ServiceTier
    from gateway.http.file_search.request import Wanted
    from gateway.http.site import Site
    from gateway.limits.ticket import Price
    from mesh.access.caller import Caller
    from mesh.bus.answer import AnswerText
    from streams.events import TaskSubmitted
    from streams.subjects import ServiceClass, TaskKey
    from streams.tasks.grounding import Grounding
    from streams.tasks.placing import Rules
    from streams.tasks.task import TaskState
    from streams.tokens import Token


class ChatQuestion:
    """A chat completion that is asked for."""

    is_background = is_length_usual = False

    def __init__(
        self, request: ChatRequest, draft: TaskSubmitted, pictures: Pictures, finder: Finder | None = None
    ) -> None:
        """Ask what ``request`` says: ``draft`` is the task, but for what is fetched or found before that."""
        self._finder = finder
        self._grounding: Grounding | None = None
        self._request = request
        self._pictures = pictures
        self.draft = draft
        self.model = request.model
        self.is_streamed = bool(request.stream)
        self.choices = request.n or 1
        self.include_usage = request.include_usage
        self.service_tier: ServiceTier | None = request.service_tier
        self.urgency: ServiceClass = "interactive"

    @property
    def grounding(self) -> Grounding | None:
        """What was found for it, once its task is made or known."""
        return self._grounding

    @property
    def cache_use(self) -> CacheUse:
        """Never for several answers, which are several tasks, nor for what is fetched or found: it may change."""
        is_new = self.choices > 1 or self._pictures.to_fetch or self._finder is not None
        return "never" if is_new else cache_use_of(self.draft)

    def price(self, answer_tokens: int) -> Price:
        """What it may use."""
        price = price_of_task(self.draft, answer_tokens=answer_tokens)
        return price if self._finder is None else self._finder.price(price)

    async def submission(self, deadline_at_ms: int, rules: Rules | None) -> TaskSubmitted:
        """The task that it asks for.

        Raises:
            ApiError: if a picture cannot be fetched, or is none, or files cannot be searched.
        """
        draft = self.draft
        if self._pictures.to_fetch:
            draft = self._request.draft(await self._pictures.all_there())
        asked = replace(draft, deadline_at_ms=deadline_at_ms, rules=rules)
        if self._finder is not None:
            asked = await self._finder.ground(asked, self.urgency)
            self._grounding = asked.grounding
        return asked

    async def recall(self, key: TaskKey) -> None:
        """Take from the log what was found for a task that was stored before."""
        self._grounding = await self.found_for(key)

    async def found_for(self, key: TaskKey) -> Grounding | None:
        """What was found for a task that was stored before; None: nothing was searched.

        Raises:
            BusError: if it cannot be read now.
        """
        return None if self._finder is None else await self._finder.recall(key)

    def draft_of(self, index: int) -> TaskSubmitted:
        """The draft of each choice: the same."""
        del index
        return self.draft

    def price_of(self, index: int, answer_tokens: int) -> Price:
        """What each choice may use."""
        del index
        return self.price(answer_tokens)

    async def submissions(self, deadline_at_ms: int, rules: Rules | None) -> list[TaskSubmitted]:
        """A task for each choice, all with what one search has found.

        Raises:
            ApiError: if a picture cannot be fetched, or is none, or files cannot be searched.
        """
        task = await self.submission(deadline_at_ms, rules)
        return [unlike(task, index) for index in range(self.choices)]

    def gathering(self, first: Token) -> ChatChoices:
        """What puts the choices together."""
        return ChatChoices(first, self)

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Write a ``chat.completion``."""
        return whole_answer(task, state.model or self.model, text, state, self._grounding)

    def frames(self, task: Token) -> ChunkFrames:
        """A writer of chunks."""
        return self.frames_of(task, self._grounding)

    def frames_of(self, task: Token, grounding: Grounding | None, part: int | None = None) -> ChunkFrames:
        """A writer of chunks that cites what ``grounding`` has; ``part`` is which of several choices it writes."""
        usage = self.include_usage
        if grounding is None:
            return ChunkFrames(task, self.model, include_usage=usage, part=part)
        return CitingFrames(task, self.model, grounding, include_usage=usage, part=part)


async def read_chat(site: Site, caller: Caller, body: bytes) -> ChatQuestion:
    """Read a request.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
        NotAllowed: if the caller's key may not have files searched.
    """
    return chat_question(body, site.fetcher, partial(Finder, site, caller))


def chat_question(
    body: bytes, fetcher: Fetcher, find: Callable[[Wanted, TaskSubmitted], Finder] | None = None
) -> ChatQuestion:
    """Read a request, and see that all of it fits together.

    Args:
        body: as it was sent.
        fetcher: gets pictures once there is room for the task.
        find: makes what searches files then, if it may.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    request = read_chat_request(body)
    pictures = Pictures(picture_urls(request.messages), fetcher)
    draft = request.draft(pictures.here)
    if (error := demand_error(draft)) is not None:
        raise from_task_error(error)
    search = request.search
    finder = None if search is None or find is None else find(search, draft)
    return ChatQuestion(request, draft, pictures, finder)
