"""``POST /v1/chat/completions`` as the flow of all APIs sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.demands import demand_error
from gateway.http.chat_answer import ChunkFrames, whole_answer
from gateway.http.chat_messages import picture_urls
from gateway.http.chat_request import read_chat_request
from gateway.http.errors import ApiError, from_task_error
from gateway.limits.price import price_of_task
from gateway.pictures import PictureRefused, picture_in

if TYPE_CHECKING:
    from gateway.http.chat_request import ChatRequest, ServiceTier
    from gateway.http.site import Site
    from gateway.limits.ticket import Price
    from gateway.pictures import Picture
    from mesh.access.caller import Caller
    from mesh.bus.answer import AnswerText
    from streams.events import TaskSubmitted
    from streams.placing import Rules
    from streams.task import TaskState
    from streams.tokens import Token


class ChatQuestion:
    """A chat completion that is asked for."""

    is_background = False

    def __init__(self, request: ChatRequest, draft: TaskSubmitted) -> None:
        """Ask what ``request`` says, which is ``draft`` as a task."""
        self._request = request
        self.draft = draft
        self.model = request.model
        self.is_streamed = bool(request.stream)
        self.service_tier: ServiceTier | None = request.service_tier

    def price(self, answer_tokens: int) -> Price:
        """What it may use."""
        return price_of_task(self.draft, answer_tokens=answer_tokens)

    async def submission(self, deadline_at_ms: int, rules: Rules | None) -> TaskSubmitted:
        """The task that it asks for."""
        return replace(self.draft, deadline_at_ms=deadline_at_ms, rules=rules)

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Write a ``chat.completion``."""
        return whole_answer(task, state.model or self.model, text, state)

    def frames(self, task: Token) -> ChunkFrames:
        """A writer of chunks."""
        return ChunkFrames(task, self.model, include_usage=self._request.include_usage)


async def read_chat(_site: Site, _caller: Caller, body: bytes) -> ChatQuestion:
    """Read a request.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    return chat_question(body)


def chat_question(body: bytes) -> ChatQuestion:
    """Read a request, and see that all of it fits together.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    request = read_chat_request(body)
    draft = request.draft(_pictures_in(request))
    if (error := demand_error(draft)) is not None:
        raise from_task_error(error)
    return ChatQuestion(request, draft)


def _pictures_in(request: ChatRequest) -> dict[str, Picture]:
    """The pictures that came with the request."""
    pictures: dict[str, Picture] = {}
    for url, place in picture_urls(request.messages):
        try:
            pictures[url] = picture_in(url)
        except PictureRefused as error:
            message = f"Invalid value for '{place}': {error}."
            raise ApiError(400, message, code="invalid_image", param=place) from error
    return pictures
