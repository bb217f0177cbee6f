"""Finds out by experiment how a chat endpoint wants to be asked and what it can do: nothing of it is assumed."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from nodes.engine import Generate
from nodes.engines.conversation import conversation_of
from nodes.engines.remote.chat_answer import ChatAnswer
from nodes.engines.remote.chat_wire import Dialect, chat_body
from nodes.errors import EngineError, RequestRefused
from streams.chat import Message, Sampling

if TYPE_CHECKING:
    from nodes.engines.remote.chat_wire import Continuing, Family
    from nodes.engines.remote.http_server import HttpServer

log = logging.getLogger(__name__)

_STORY: Final = Message(role="user", content="Tell me a long story about the sea.")
_STORY_TOKENS: Final = 16
_SHORT_TOKENS: Final = 8
_COMPARED_CHARS: Final = 8
"""So much of a continuation must be what the uninterrupted answer has there: in the middle of a sentence no new turn
begins like that."""
_WAYS: Final[tuple[Continuing, ...]] = ("trailing", "flags", "continue_")
_AT_ONCE: Final = 4
_TOO_FAST_S: Final = 0.3
"""A server that has answered all by then has shown nothing, and needs no more seats."""


class Heard(Struct, frozen=True, kw_only=True):
    """One short answer."""

    text: str
    cuts: tuple[int, ...]
    """Where in the text a piece ended."""
    first_s: float
    last_s: float
    """When the first and the last piece came, on the clock of this process."""
    tells_usage: bool
    tells_running: bool


class ChatProbe:
    """Asks one model of one server."""

    def __init__(self, server: HttpServer, model: str, family: Family) -> None:
        self._server = server
        self._model = model
        self._dialect = Dialect(family=family, counting="none")

    async def dialect(self) -> Dialect:
        """Find out how to ask.

        Raises:
            EngineError: it cannot be asked at all.
        """
        story = await self._first_answer()
        counting = "running" if story.tells_running else "final" if story.tells_usage else "none"
        self._dialect = replace(self._dialect, counting=counting)
        self._dialect = replace(self._dialect, continuing=await self._way_to_continue(story))
        return self._dialect

    async def at_once(self) -> int:
        """Find out how many answers it writes side by side, up to four."""
        began = time.perf_counter()
        asked = (self._ask(Sampling(max_tokens=_SHORT_TOKENS, temperature=0)) for _ in range(_AT_ONCE))
        answers = [heard for heard in await asyncio.gather(*asked, return_exceptions=True) if isinstance(heard, Heard)]
        if len(answers) == _AT_ONCE and time.perf_counter() - began < _TOO_FAST_S:
            return _AT_ONCE
        return max((sum(_overlap(one, other) for other in answers) for one in answers), default=1)

    async def _first_answer(self) -> Heard:
        """Ask in OpenAI's own words, and leave out what the server does not want to hear of."""
        sampling = Sampling(max_tokens=_STORY_TOKENS, temperature=0)
        old, new = self._dialect, replace(self._dialect, new_limit=True)
        refusal: EngineError | None = None
        for self._dialect in (old, replace(old, asks_usage=False), new, replace(new, asks_usage=False)):
            try:
                return await self._ask(sampling)
            except RequestRefused as error:
                refusal = refusal or error
        raise refusal or EngineError("the server was not asked")

    async def _way_to_continue(self, story: Heard) -> Continuing:
        at = _cut_of(story)
        if at is None:
            log.info("the server's answer is too short to see whether it can go on from a text: taken as no")
            return "no"
        expected = story.text[at : at + _COMPARED_CHARS]
        for way in _WAYS:
            self._dialect = replace(self._dialect, continuing=way)
            try:
                rest = await self._ask(Sampling(max_tokens=_SHORT_TOKENS, temperature=0), begun=story.text[:at])
            except RequestRefused:
                continue
            if rest.text.startswith(expected):
                return way
        log.info("the server does not go on from a text: answers that others began are written anew")
        return "no"

    async def _ask(self, sampling: Sampling, *, begun: str = "") -> Heard:
        conversation = conversation_of(Generate(messages=(_STORY,), prefix=begun))
        answer = ChatAnswer(conversation, sampling, self._dialect.counting, self._server.key)
        text, cuts = "", list[int]()
        first = last = time.perf_counter()
        body = chat_body(self._model, conversation, sampling, self._dialect)
        async with self._server.post(f"{self._server.api}/chat/completions", body) as response:
            async for piece in answer.pieces(response):
                last = time.perf_counter()
                first = first if text else last
                text += piece.text
                cuts.append(len(text))
        return Heard(
            text=text,
            cuts=tuple(cuts),
            first_s=first,
            last_s=last,
            tells_usage=answer.tells_usage,
            tells_running=answer.tells_running,
        )


def _overlap(one: Heard, other: Heard) -> bool:
    return one.first_s <= other.last_s and other.first_s <= one.last_s


def _cut_of(story: Heard) -> int | None:
    """Where to cut: behind a piece, not at the end of a sentence, with enough behind it."""
    text = story.text
    places = [at for at in story.cuts if text[:at].strip() and text[at:].strip() and at <= len(text) - _COMPARED_CHARS]
    inside = [at for at in places if text[:at].rstrip()[-1].isalnum()]
    # Best where no space comes before: servers may drop it.
    return min(inside, key=lambda at: (text[at - 1].isspace(), abs(at - len(text) // 2)), default=None)
