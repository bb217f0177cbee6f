"""``POST /v1/completions`` as the flow of all APIs sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.http.cache.use import cache_use_of
from gateway.http.completions.answer import CompletionFrames, choice_of, whole_completion
from gateway.http.completions.choices import CompletionChoices
from gateway.http.completions.request import read_completion_request
from gateway.http.several import unlike
from gateway.limits.price import price_of_task

if TYPE_CHECKING:
    from gateway.http.cache.use import CacheUse
    from gateway.http.chat.request import ServiceTier
    from gateway.http.completions.request import CompletionRequest
    from gateway.http.site import Site
    from gateway.limits.ticket import Price
    from mesh.access.caller import Caller
    from mesh.bus.answer import AnswerText
    from streams.events import TaskSubmitted
    from streams.tasks.placing import Rules
    from streams.tasks.task import TaskState
    from streams.tokens import Token


class CompletionQuestion:
    """A completion that is asked for."""

    is_background = False

    def __init__(self, request: CompletionRequest) -> None:
        """Ask what ``request`` says.

        Raises:
            ApiError: 400, naming the parameter that is wrong.
        """
        self.draft = request.draft()
        self._prompts = request.prompts
        self._each = request.n or 1
        self._include_usage = request.include_usage
        self._echoes = bool(request.echo)
        self.is_length_usual = request.max_tokens is None
        self.model = request.model
        self.is_streamed = bool(request.stream)
        self.choices = len(self._prompts) * self._each
        # Several answers are several tasks.
        self.cache_use: CacheUse = "never" if self.choices > 1 else cache_use_of(self.draft)
        self.service_tier: ServiceTier | None = request.service_tier

    def price(self, answer_tokens: int) -> Price:
        """What its first answer may use."""
        return self.price_of(0, answer_tokens)

    async def submission(self, deadline_at_ms: int, rules: Rules | None) -> TaskSubmitted:
        """The task of its first answer."""
        return replace(self.draft, deadline_at_ms=deadline_at_ms, rules=rules)

    def draft_of(self, index: int) -> TaskSubmitted:
        """The draft of one answer: those to one prompt stand together, in the order of the prompts."""
        draft = replace(self.draft, prompt=self._prompts[index // self._each])
        return unlike(draft, index % self._each)

    def price_of(self, index: int, answer_tokens: int) -> Price:
        """What one answer may use."""
        return price_of_task(self.draft_of(index), answer_tokens=answer_tokens)

    async def submissions(self, deadline_at_ms: int, rules: Rules | None) -> list[TaskSubmitted]:
        """A task for each answer."""
        drafts = map(self.draft_of, range(self.choices))
        return [replace(draft, deadline_at_ms=deadline_at_ms, rules=rules) for draft in drafts]

    def gathering(self, first: Token) -> CompletionChoices:
        """What puts the answers together."""
        echoed = [self._echoed(index) for index in range(self.choices)]
        return CompletionChoices(first, self.model, echoed, include_usage=self._include_usage)

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Write a ``text_completion``."""
        return whole_completion(task, state.model or self.model, (choice_of(text, state, self._echoed(0)),), state)

    def frames(self, task: Token) -> CompletionFrames:
        """A writer of chunks."""
        return CompletionFrames(task, self.model, include_usage=self._include_usage, echoed=self._echoed(0))

    def _echoed(self, index: int) -> str:
        return self._prompts[index // self._each] if self._echoes else ""


async def read_completion(_site: Site, _caller: Caller, body: bytes) -> CompletionQuestion:
    """Read a request.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    return CompletionQuestion(read_completion_request(body))
