"""A request as a provider gets it, and its answer as the user does (ADR 21)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from nodes.errors import CannotContinue
from nodes.personal_data.placeholders import Placeholders
from nodes.personal_data.restored_pieces import RestoredPieces
from streams.tasks.chat import TextPart

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from nodes.engine import Generate, Piece
    from nodes.personal_data.spec import RedactionSpec
    from streams.tasks.chat import Message
    from streams.tasks.placing import Redaction
    from streams.tasks.tools import OutputFormat, Tools

_LONG_CHARS: Final = 16_384
"""What is longer is looked through in a thread: the node has other answers to write meanwhile."""


class HiddenRequest:
    """One request with placeholders in it."""

    def __init__(self, request: Generate, placeholders: Placeholders) -> None:
        """Hide what is found in ``request``: in its messages first, so that these get the same placeholders always."""
        self._placeholders = placeholders
        hide = placeholders.hide
        messages = tuple(self._message(message) for message in request.messages)
        tools = None if request.tools is None else self._tools(request.tools)
        form = None if request.format is None else self._format(request.format)
        # What another node has written may end within a value: the provider begins that value again.
        self._begun = placeholders.begun_value(request.prefix)
        prefix = hide(request.prefix.removesuffix(self._begun))
        sampling = replace(request.sampling, stop=tuple(map(hide, request.sampling.stop)))
        self.request: Generate = replace(
            request,
            messages=messages,
            prompt=hide(request.prompt),
            tools=tools,
            format=form,
            prefix=prefix,
            sampling=sampling,
        )

    async def restored(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
        """Put values back into the provider's answer.

        Raises:
            CannotContinue: the answer does not go on with the value that another node has begun to write.
        """
        values = self._placeholders.values
        if not values:
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
            return
        answer = _Behind(RestoredPieces(values), self._begun)
        async with aclosing(pieces):
            async for piece in pieces:
                shown = answer.push(piece)
                if shown is not None:
                    yield shown

    def _message(self, message: Message) -> Message:
        hide = self._placeholders.hide
        parts = tuple(
            replace(part, text=hide(part.text)) if isinstance(part, TextPart) else part for part in message.parts
        )
        content = "".join(part.text for part in parts if isinstance(part, TextPart)) if parts else hide(message.content)
        calls = tuple(replace(call, arguments=hide(call.arguments)) for call in message.tool_calls)
        name = message.name if message.name is None or hide(message.name) == message.name else None
        return replace(message, content=content, parts=parts, tool_calls=calls, name=name)

    def _tools(self, tools: Tools) -> Tools:
        hide = self._placeholders.hide
        functions = tuple(
            replace(one, description=hide(one.description), parameters_json=hide(one.parameters_json))
            for one in tools.functions
        )
        return replace(tools, functions=functions)

    def _format(self, form: OutputFormat) -> OutputFormat:
        return replace(form, schema_json=self._placeholders.hide(form.schema_json))


class _Behind:
    """What of an answer comes behind the beginning of a value that is published already."""

    def __init__(self, pieces: RestoredPieces, begun: str) -> None:
        self._pieces = pieces
        self._begun = begun
        self._tokens = 0

    def push(self, piece: Piece) -> Piece | None:
        """Return what is to be shown with this piece.

        Raises:
            CannotContinue: the answer begins with something else.
        """
        shown = self._pieces.push(piece)
        if shown is None or not self._begun:
            return shown
        common = min(len(shown.text), len(self._begun))
        if shown.text[:common] != self._begun[:common] or (shown.finish_reason and common < len(self._begun)):
            raise CannotContinue("the provider does not go on within the value that is half written")
        self._begun = self._begun[common:]
        self._tokens += shown.tokens
        if common == len(shown.text) and not shown.tool_calls and shown.finish_reason is None:
            return None
        tokens, self._tokens = self._tokens, 0
        return replace(shown, text=shown.text[common:], tokens=tokens, logprobs=())


async def hidden(request: Generate, spec: RedactionSpec) -> HiddenRequest | None:
    """Hide what ``spec`` and the request's own wish name; None: nothing is to be hidden."""
    level = spec.level_for(request.redaction)
    if level == "off":
        return None
    texts = tuple(_texts(request))

    def work() -> HiddenRequest:
        return HiddenRequest(request, Placeholders(level, spec.countries, texts))

    return await asyncio.to_thread(work) if sum(map(len, texts)) > _LONG_CHARS else work()


async def hidden_texts(texts: tuple[str, ...], spec: RedactionSpec, wish: Redaction | None) -> tuple[str, ...]:
    """Hide it in texts that are to become vectors, each numbered by itself: no vector depends on another text."""
    level = spec.level_for(wish)
    if level == "off":
        return texts

    def work() -> tuple[str, ...]:
        return tuple(Placeholders(level, spec.countries, (text,)).hide(text) for text in texts)

    return await asyncio.to_thread(work) if sum(map(len, texts)) > _LONG_CHARS else work()


def _texts(request: Generate) -> Iterator[str]:
    """All that a provider would read."""
    yield request.prompt
    yield request.prefix
    yield from request.sampling.stop
    for message in request.messages:
        yield message.content
        yield from (call.arguments for call in message.tool_calls)
    for function in () if request.tools is None else request.tools.functions:
        yield function.description
        yield function.parameters_json
    if request.format is not None:
        yield request.format.schema_json
