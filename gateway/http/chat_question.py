"""``POST /v1/chat/completions`` as the flow of all APIs sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.demands import demand_error
from gateway.http.cache_use import cache_use_of
from gateway.http.chat_answer import ChunkFrames, whole_answer
from gateway.http.chat_choices import ChatChoices
from gateway.http.chat_messages import picture_urls
from gateway.http.chat_request import read_chat_request
from gateway.http.errors import from_task_error
from gateway.http.request_pictures import Pictures
from gateway.http.several import unlike
from gateway.limits.price import price_of_task

if TYPE_CHECKING:
    from gateway.fetching.fetcher import Fetcher
    from gateway.http.cache_use import CacheUse
    from gateway.http.chat_request import ChatRequest, ServiceTier
    from gateway.http.site import Site
    from gateway.limits.ticket import Price
    from mesh.access.caller import Caller
    from mesh.bus.answer import AnswerText
    from streams.events import TaskSubmitted
    from streams.placing import Rules
    from streams.task import TaskState
    from streams.tokens import Token


class ChatQuestion:
    """A chat completion that is asked for."""

    is_background = is_length_usual = False

    def __init__(self, request: ChatRequest, draft: TaskSubmitted, pictures: Pictures) -> None:
        """Ask what ``request`` says: ``draft`` is the task, but for those of its ``pictures`` that must be fetched."""
        self._request = request
        self._pictures = pictures
        self.draft = draft
        self.model = request.model
        self.is_streamed = bool(request.stream)
        self.choices = request.n or 1
        self.include_usage = request.include_usage
        self.service_tier: ServiceTier | None = request.service_tier

    @property
    def cache_use(self) -> CacheUse:
        """Never for several answers, which are several tasks, nor for what is fetched and may be another thing."""
        return "never" if self.choices > 1 or self._pictures.to_fetch else cache_use_of(self.draft)

    def price(self, answer_tokens: int) -> Price:
        """What it may use."""
        return price_of_task(self.draft, answer_tokens=answer_tokens)

    async def submission(self, deadline_at_ms: int, rules: Rules | None) -> TaskSubmitted:
        """The task that it asks for.

        Raises:
            ApiError: 400, if a picture cannot be fetched, or is none.
        """
        draft = self.draft
        if self._pictures.to_fetch:
            draft = self._request.draft(await self._pictures.all_there())
        return replace(draft, deadline_at_ms=deadline_at_ms, rules=rules)

    def draft_of(self, index: int) -> TaskSubmitted:
        """The draft of each choice: the same."""
        del index
        return self.draft

    def price_of(self, index: int, answer_tokens: int) -> Price:
        """What each choice may use."""
        del index
        return self.price(answer_tokens)

    async def submissions(self, deadline_at_ms: int, rules: Rules | None) -> list[TaskSubmitted]:
        """A task for each choice.

        Raises:
            ApiError: 400, if a picture cannot be fetched, or is none.
        """
        task = await self.submission(deadline_at_ms, rules)
        return [unlike(task, index) for index in range(self.choices)]

    def gathering(self, first: Token) -> ChatChoices:
        """What puts the choices together."""
        return ChatChoices(first, self.model, include_usage=self.include_usage)

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Write a ``chat.completion``."""
        return whole_answer(task, state.model or self.model, text, state)

    def frames(self, task: Token) -> ChunkFrames:
        """A writer of chunks."""
        return ChunkFrames(task, self.model, include_usage=self.include_usage)


async def read_chat(site: Site, _caller: Caller, body: bytes) -> ChatQuestion:
    """Read a request.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    return chat_question(body, site.fetcher)


def chat_question(body: bytes, fetcher: Fetcher) -> ChatQuestion:
    """Read a request, and see that all of it fits together; ``fetcher`` gets pictures once there is room for the task.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    request = read_chat_request(body)
    pictures = Pictures(picture_urls(request.messages), fetcher)
    draft = request.draft(pictures.here)
    if (error := demand_error(draft)) is not None:
        raise from_task_error(error)
    return ChatQuestion(request, draft, pictures)
