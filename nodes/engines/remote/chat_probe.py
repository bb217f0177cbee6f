"""Finds out by experiment how a chat endpoint wants to be asked and what it can do: nothing of it is assumed."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from nodes.engines.conversation import conversation_of
from nodes.engines.remote.chat_answer import ChatAnswer, chunks_of
from nodes.engines.remote.chat_wire import Dialect, chat_body, raw_body
from nodes.engines.remote.experiments import SHORT_TOKENS, Heard, cut_of, goes_on, listen, story
from nodes.errors import EngineError, RequestRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.engine import Generate, Piece
    from nodes.engines.remote.chat_wire import Continuing, Family
    from nodes.engines.remote.http_server import HttpServer

log = logging.getLogger(__name__)

_WAYS: Final[tuple[Continuing, ...]] = ("trailing", "flags", "continue_")
_AT_ONCE: Final = 4
_TOO_FAST_S: Final = 0.3
"""A server that has answered all by then has shown nothing, and needs no more seats."""


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
        first, answer = await self._first_answer()
        counting = "running" if answer.tells_running else "final" if answer.tells_usage else "none"
        self._dialect = replace(self._dialect, counting=counting)
        self._dialect = replace(self._dialect, continuing=await self._way_to_continue(first))
        return self._dialect

    async def at_once(self) -> int:
        """Find out how many answers it writes side by side, up to four."""
        began = time.perf_counter()
        asked = (self._ask(story(tokens=SHORT_TOKENS)) for _ in range(_AT_ONCE))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        answers = [outcome[0] for outcome in outcomes if not isinstance(outcome, BaseException)]
        if len(answers) == _AT_ONCE and time.perf_counter() - began < _TOO_FAST_S:
            return _AT_ONCE
        return max((sum(one.overlaps(other) for other in answers) for one in answers), default=1)

    async def _first_answer(self) -> tuple[Heard, ChatAnswer]:
        """Ask in OpenAI's own words, and leave out what the server does not want to hear of."""
        old, new = self._dialect, replace(self._dialect, new_limit=True)
        refusal: EngineError | None = None
        for self._dialect in (old, replace(old, asks_usage=False), new, replace(new, asks_usage=False)):
            try:
                return await self._ask(story())
            except RequestRefused as error:
                refusal = refusal or error
        raise refusal or EngineError("the server was not asked")

    async def _way_to_continue(self, first: Heard) -> Continuing:
        at = cut_of(first)
        if at is None:
            log.info("the server's answer is too short to see whether it can go on from a text: taken as no")
            return "no"
        for way in _WAYS:
            self._dialect = replace(self._dialect, continuing=way)
            try:
                rest, _ = await self._ask(story(tokens=SHORT_TOKENS, begun=first.text[:at]))
            except RequestRefused:
                continue
            if goes_on(first.text, at, rest.text):
                return way
        log.info("the server does not go on from a text: answers that others began are written anew")
        return "no"

    async def pieces(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Ask as was found out so far."""
        conversation = conversation_of(request)
        answer = ChatAnswer(conversation, request.sampling, self._dialect.counting, self._server.key)
        body = chat_body(self._model, conversation, request, self._dialect)
        async with self._server.post(f"{self._server.api}/chat/completions", body) as response:
            async for piece in answer.pieces(chunks_of(response)):
                yield piece

    async def raw_pieces(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Have a raw prompt gone on with, in the same way."""
        conversation = conversation_of(request)
        answer = ChatAnswer(conversation, request.sampling, self._dialect.counting, self._server.key)
        body = raw_body(self._model, conversation, request, self._dialect)
        async with self._server.post(f"{self._server.api}/completions", body) as response:
            async for piece in answer.pieces(chunks_of(response)):
                yield piece

    async def _ask(self, request: Generate) -> tuple[Heard, ChatAnswer]:
        conversation = conversation_of(request)
        answer = ChatAnswer(conversation, request.sampling, self._dialect.counting, self._server.key)
        body = chat_body(self._model, conversation, request, self._dialect)
        async with self._server.post(f"{self._server.api}/chat/completions", body) as response:
            return await listen(answer.pieces(chunks_of(response))), answer
