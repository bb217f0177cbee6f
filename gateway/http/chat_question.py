"""``POST /v1/chat/completions`` as the flow of all APIs sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.http.chat_answer import ChunkFrames, whole_answer
from gateway.http.chat_request import price_of, read_chat_request

if TYPE_CHECKING:
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

    def __init__(self, request: ChatRequest) -> None:
        """Ask what ``request`` says."""
        self._request = request
        self.model = request.model
        self.is_streamed = bool(request.stream)
        self.service_tier: ServiceTier | None = request.service_tier

    def price(self, answer_tokens: int) -> Price:
        """What it may use."""
        return price_of(self._request, answer_tokens=answer_tokens)

    async def submission(self, deadline_at_ms: int, rules: Rules | None) -> TaskSubmitted:
        """The task that it asks for."""
        return self._request.submission(deadline_at_ms, rules)

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Write a ``chat.completion``."""
        return whole_answer(task, state.model or self.model, str(text), state)

    def frames(self, task: Token) -> ChunkFrames:
        """A writer of chunks."""
        return ChunkFrames(task, self.model, include_usage=self._request.include_usage)


async def read_chat(_site: Site, _caller: Caller, body: bytes) -> ChatQuestion:
    """Read a request.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    return ChatQuestion(read_chat_request(body))
