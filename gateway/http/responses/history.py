"""What was said before: a response is read back from the log, as what it was and what it has become."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from gateway.http.errors import ApiError
from gateway.http.following import LAG_S
from gateway.http.responses.objects import PREFIX
from mesh.bus.answer import AnswerText, Reader
from streams.errors import InvalidTaskId
from streams.subjects import TaskKey
from streams.tasks.chat import Message
from streams.tasks.grounding import own_messages
from streams.tasks.task_id import parse_task_id

if TYPE_CHECKING:
    from gateway.http.responses.deletions import Deletions
    from gateway.http.site import Site
    from streams.events import TaskSubmitted
    from streams.tasks.response_terms import ResponseTerms
    from streams.tokens import Token

_PAUSE_S = 0.1


class Kept(NamedTuple):
    """A response that may be read again."""

    key: TaskKey
    asked: TaskSubmitted
    terms: ResponseTerms


class History:
    """Reads responses of one gateway's mesh."""

    def __init__(self, site: Site, deletions: Deletions) -> None:
        """Read for ``site``."""
        self._site = site
        self._deletions = deletions

    async def find(self, account: Token, name: str) -> Kept | None:
        """Return the response of that id, unless there is none, it was not to be stored, or it was deleted.

        Raises:
            BusError: if the streams cannot be read now.
        """
        try:
            key = TaskKey(account, parse_task_id(name.removeprefix(PREFIX)))
        except InvalidTaskId:
            return None
        found, is_deleted = await asyncio.gather(self._site.submissions.find(key), self._deletions.has(key))
        terms = None if found is None else found.asked.response
        if found is None or terms is None or not terms.stored or is_deleted:
            return None
        return Kept(key, found.asked, terms)

    async def turns(self, account: Token, name: str) -> tuple[Message, ...]:
        """Return a conversation up to the answer of a response, without its instructions and what was found for it.

        Raises:
            ApiError: 400 if there is no such response, or no whole answer (yet).
            BusError: if the streams cannot be read now.
        """
        kept = await self.find(account, name)
        if kept is None:
            message = f"Previous response with id '{name}' not found."
            raise ApiError(400, message, code="previous_response_not_found", param="previous_response_id")
        answer = await self._answer(kept.key)
        if answer is None:
            message = f"The response '{name}' has no whole answer (yet), so that nothing can be asked behind it."
            raise ApiError(400, message, code="previous_response_not_complete", param="previous_response_id")
        own = own_messages(kept.asked.messages, kept.asked.grounding)
        said = own[1:] if kept.terms.instructed else own
        return (*said, Message(role="assistant", content=str(answer), tool_calls=answer.tool_calls))

    async def _answer(self, key: TaskKey) -> AnswerText | None:
        """The answer of a task; None if it is not whole. Copies of a stream may lag behind what the client has read."""
        reader, text = Reader(self._site.bus.source, key), AnswerText()
        give_up_at_s = asyncio.get_running_loop().time() + LAG_S
        text.take(await reader.catch_up())
        while not reader.state.is_over and asyncio.get_running_loop().time() < give_up_at_s:
            await asyncio.sleep(_PAUSE_S)
            text.take(await reader.catch_up())
        return text if reader.state.outcome == "completed" else None
