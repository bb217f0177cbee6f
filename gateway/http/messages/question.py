"""``POST /v1/messages`` as the flow of all APIs sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from gateway.http.cache.use import cache_use_of
from gateway.http.errors import from_task_error
from gateway.http.messages.conversation import draft_of, picture_urls
from gateway.http.messages.frames import MessageFrames
from gateway.http.messages.objects import message_of
from gateway.http.messages.request import read_messages_request
from gateway.http.request_pictures import Pictures
from gateway.intake.demands import demand_error
from gateway.limits.price import price_of_task

if TYPE_CHECKING:
    from gateway.http.cache.use import CacheUse
    from gateway.http.chat.request import ServiceTier
    from gateway.http.messages.request import MessagesRequest
    from gateway.http.site import Site
    from gateway.limits.ticket import Price
    from mesh.access.caller import Caller
    from mesh.bus.answer import AnswerText
    from streams.events import TaskSubmitted
    from streams.tasks.placing import Rules
    from streams.tasks.task import TaskState
    from streams.tokens import Token

_encode: Final = msgspec.json.Encoder().encode


class MessagesQuestion:
    """A message that is asked for."""

    is_background = is_length_usual = False
    service_tier: ServiceTier | None = None
    """Anthropic's tiers say nothing of urgency."""

    def __init__(self, request: MessagesRequest, draft: TaskSubmitted, pictures: Pictures) -> None:
        """Ask what ``request`` says: ``draft`` is the task, but for those of its ``pictures`` that must be fetched."""
        self._request = request
        self._pictures = pictures
        self.draft = draft
        self.model = request.model
        self.is_streamed = bool(request.stream)
        self.cache_use: CacheUse = cache_use_of(self.draft)

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
            draft = draft_of(self._request, await self._pictures.all_there())
        return replace(draft, deadline_at_ms=deadline_at_ms, rules=rules)

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Write a ``message``."""
        return _encode(message_of(task, self.model, text, state))

    def frames(self, task: Token) -> MessageFrames:
        """A writer of typed events."""
        return MessageFrames(task, self.model)


async def read_messages(site: Site, _caller: Caller, body: bytes) -> MessagesQuestion:
    """Read a request.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    request = read_messages_request(body)
    pictures = Pictures(picture_urls(request), site.fetcher)
    draft = draft_of(request, pictures.here)
    if (error := demand_error(draft)) is not None:
        raise from_task_error(error)
    return MessagesQuestion(request, draft, pictures)
