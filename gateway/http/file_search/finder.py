"""What a request's ``file_search`` does: it finds passages, and puts them before the question, as part of the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.auth.caller import NotAllowed
from gateway.http.errors import ApiError
from gateway.http.file_search.fitting import LEAST_TOKENS, fitted, kept, room_of
from gateway.http.file_search.marks import new_nonce, preface
from gateway.http.file_search.passages import find_passages
from gateway.http.file_search.request import TOOL
from gateway.limits.price import price_of_task
from gateway.limits.ticket import Price
from streams.grounding import Grounding, Source, put_before

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.http.file_search.request import Wanted
    from gateway.http.site import Site
    from mesh.access.caller import Caller
    from streams.events import TaskSubmitted
    from streams.retrieval_messages import FoundPassage
    from streams.subjects import TaskKey

UNKNOWN_CONTEXT_TOKENS = 2048
"""What a model is taken to read where no replica of it has been announced yet."""


class Finder:
    """Searches for one request."""

    def __init__(self, site: Site, caller: Caller, wanted: Wanted, draft: TaskSubmitted) -> None:
        """Search in the name of ``caller`` for what ``draft`` asks.

        Raises:
            NotAllowed: if the caller's key may not offer this tool.
            ApiError: 400, if nobody has asked anything.
        """
        if not caller.may_offer(TOOL):
            raise NotAllowed(f"This key is for other tools than `{TOOL}`.", code="tool_not_allowed")
        self._site = site
        self._caller = caller
        self._wanted = wanted
        _question_of(draft)

    def price(self, price: Price) -> Price:
        """What a request may use with all the passages that it may be given."""
        return Price(prompt=price.prompt + self._site.settings.file_search_tokens, answer=price.answer)

    async def ground(self, asked: TaskSubmitted) -> TaskSubmitted:
        """Find passages for what the user said last, and put those that fit before it.

        Raises:
            ApiError: if a store is none of the account's, nobody can search, or there is no room for any passage.
            BusError: if the bus is away.
        """
        at, query = _question_of(asked)
        for store in self._wanted.search.stores:
            await self._site.shelf.use(self._caller.account, store)
        found = kept(await find_passages(self._site.bus.core, self._caller, self._wanted, query))
        shown = fitted(found, self._room(asked)) if found else ()
        numbers = {each.at: number for number, each in enumerate(shown, 1)}
        text = preface([each.passage for each in shown], _nonce_for(found))
        return replace(
            asked,
            messages=put_before(asked.messages, at, text),
            grounding=Grounding(
                search=self._wanted.search,
                query=query,
                sources=tuple([Source(found=one, number=numbers.get(place)) for place, one in enumerate(found)]),
                message=at,
                chars=len(text),
            ),
        )

    async def recall(self, key: TaskKey) -> Grounding | None:
        """What was found for a task that was stored before.

        Raises:
            BusError: if it cannot be read now.
        """
        found = await self._site.submissions.find(key)
        return None if found is None else found.asked.grounding

    def _room(self, asked: TaskSubmitted) -> int:
        site = self._site
        price = price_of_task(asked, answer_tokens=site.settings.answer_tokens)
        context = self._context(asked.model)
        room = room_of(
            context_tokens=context,
            prompt_tokens=price.prompt,
            answer_tokens=price.answer,
            most_tokens=site.settings.file_search_tokens,
        )
        if room < LEAST_TOKENS:
            message = (
                f"Passages of files do not fit: the model reads {context} tokens, the request has about {price.prompt}."
            )
            raise ApiError(400, message, code="context_length_exceeded", param="tools")
        return room

    def _context(self, model: str) -> int:
        """What any replica of the model can read, since any may be chosen."""
        site = self._site
        alias, roster = site.aliases.get(model), site.roster_feed.roster
        models = (model,) if alias is None else alias.models
        contexts = [replica.context_tokens for name in models for replica in roster.replicas_of(name)]
        return min(contexts, default=UNKNOWN_CONTEXT_TOKENS)


def _question_of(asked: TaskSubmitted) -> tuple[int, str]:
    """What is searched for: the user's last message, and which it is."""
    for at in range(len(asked.messages) - 1, -1, -1):
        message = asked.messages[at]
        if message.role == "user":
            if message.content.strip():
                return at, message.content
            break
    message = "file_search needs a message of the user that says something: it is what is searched for."
    raise ApiError(400, message, code="invalid_value", param="tools")


def _nonce_for(found: Sequence[FoundPassage]) -> str:
    """A word that stands in nothing that was found."""
    nonce = new_nonce()
    while any(nonce in one.text for one in found):
        nonce = new_nonce()
    return nonce
