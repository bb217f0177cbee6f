"""``POST /v1/completions`` as the flow of all APIs sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from gateway.http.cache_use import cache_use_of
from gateway.http.completions.answer import CompletionFrames, completion_of
from gateway.http.completions.request import read_completion_request
from gateway.limits.price import price_of_task

if TYPE_CHECKING:
    from gateway.http.cache_use import CacheUse
    from gateway.http.chat_request import ServiceTier
    from gateway.http.completions.request import CompletionRequest
    from gateway.http.site import Site
    from gateway.limits.ticket import Price
    from mesh.access.caller import Caller
    from mesh.bus.answer import AnswerText
    from streams.events import TaskSubmitted
    from streams.placing import Rules
    from streams.task import TaskState
    from streams.tokens import Token

_encode: Final = msgspec.json.Encoder().encode


class CompletionQuestion:
    """A completion that is asked for."""

    is_background = False

    def __init__(self, request: CompletionRequest) -> None:
        """Ask what ``request`` says.

        Raises:
            ApiError: 400, naming the parameter that is wrong.
        """
        self.draft = request.draft()
        self._include_usage = request.include_usage
        self._echoed = request.text if request.echo else ""
        self.is_length_usual = request.max_tokens is None
        self.model = request.model
        self.is_streamed = bool(request.stream)
        self.cache_use: CacheUse = cache_use_of(self.draft)
        self.service_tier: ServiceTier | None = request.service_tier

    def price(self, answer_tokens: int) -> Price:
        """What it may use."""
        return price_of_task(self.draft, answer_tokens=answer_tokens)

    async def submission(self, deadline_at_ms: int, rules: Rules | None) -> TaskSubmitted:
        """The task that it asks for."""
        return replace(self.draft, deadline_at_ms=deadline_at_ms, rules=rules)

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Write a ``text_completion``."""
        return _encode(completion_of(task, self.model, text, state, echoed=self._echoed))

    def frames(self, task: Token) -> CompletionFrames:
        """A writer of chunks."""
        return CompletionFrames(task, self.model, include_usage=self._include_usage, echoed=self._echoed)


async def read_completion(_site: Site, _caller: Caller, body: bytes) -> CompletionQuestion:
    """Read a request.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    return CompletionQuestion(read_completion_request(body))
