"""What a request's ``file_search`` does: it finds passages, and puts them before the question, as part of the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.auth.caller import NotAllowed
from gateway.http.errors import ApiError
from gateway.http.file_search.deciding import Decider
from gateway.http.file_search.fitting import LEAST_TOKENS, fitted, identity, kept, room_of, woven
from gateway.http.file_search.marks import new_nonce, preface
from gateway.http.file_search.passages import find_passages
from gateway.http.file_search.request import TOOL
from gateway.limits.price import price_of_task
from gateway.limits.ticket import Price
from streams.stores.messages import MOST_FOUND
from streams.tasks.grounding import Grounding, Searched, Source, put_before

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.http.file_search.request import Wanted
    from gateway.http.site import Site
    from mesh.access.caller import Caller
    from streams.events import TaskSubmitted
    from streams.stores.messages import FoundPassage
    from streams.subjects import ServiceClass, TaskKey

    _Found = Mapping[str, tuple[FoundPassage, ...]]
    """What each query has found, in the order of the searches."""

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
        self._rounds = wanted.rounds or site.settings.file_search_rounds
        _question_of(draft)

    def price(self, price: Price) -> Price:
        """What a request may use with all the passages that it may be given."""
        return Price(prompt=price.prompt + self._site.settings.file_search_tokens, answer=price.answer)

    async def ground(self, asked: TaskSubmitted, urgency: ServiceClass) -> TaskSubmitted:
        """Find passages for what the user said last, and put those that fit before it.

        Between searches the model says, in a task of ``urgency``, what to search for next, or that it has enough.

        Raises:
            ApiError: if a store is none of the account's, nobody can search, or there is no room for any passage.
            BusError: if the bus is away.
        """
        at, query = _question_of(asked)
        for store in self._wanted.search.stores:
            await self._site.shelf.use(self._caller.account, store)
        found = {query: await self._find(query)}
        decider = Decider(self._site, self._caller, asked, at, urgency)
        while len(found) < self._rounds:
            following = await decider.next_query(self._text(asked, found), tuple(found))
            if following is None:
                break
            found[following] = await self._find(following)
        text = self._text(asked, found)
        return replace(
            asked, messages=put_before(asked.messages, at, text), grounding=self._grounding(asked, at, found, len(text))
        )

    def _grounding(self, asked: TaskSubmitted, at: int, found: _Found, chars: int) -> Grounding:
        numbers = {identity(passage): number for number, passage in enumerate(self._shown(asked, found), 1)}
        first, *again = [
            Searched(
                query=query, sources=tuple([Source(found=one, number=numbers.get(identity(one))) for one in passages])
            )
            for query, passages in found.items()
        ]
        return Grounding(
            search=self._wanted.search,
            query=first.query,
            sources=first.sources,
            again=tuple(again),
            message=at,
            chars=chars,
        )

    def _shown(self, asked: TaskSubmitted, found: _Found) -> tuple[FoundPassage, ...]:
        """What of all that was found the model reads, in the order of its numbers."""
        best = woven(tuple(found.values()))
        return tuple([each.passage for each in fitted(best, self._room(asked))])[:MOST_FOUND] if best else ()

    def _text(self, asked: TaskSubmitted, found: _Found) -> str:
        """What stands before the question."""
        nonce = _nonce_for([passage for passages in found.values() for passage in passages])
        return preface(self._shown(asked, found), nonce)

    async def _find(self, query: str) -> tuple[FoundPassage, ...]:
        found = await find_passages(self._site.bus.core, self._caller, self._wanted, query)
        return kept(found, self._rounds)

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
