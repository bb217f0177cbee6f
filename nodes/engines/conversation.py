"""What every engine asks of the messages of a request before it works on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nodes.engines.demands import is_constrained
from nodes.engines.llama.plain_text import NO_MARKERS, Mended, PlainText
from nodes.errors import RequestRefused
from streams.tasks.chat import Message, TextPart

if TYPE_CHECKING:
    from nodes.engine import Generate


class Conversation(Struct, frozen=True, kw_only=True):
    """The turns to answer, or the raw prompt, and the beginning of the answer where there is one already."""

    turns: tuple[Message, ...]
    begun: str
    prompt: str = ""
    """A raw prompt; there are no turns then."""
    plain: PlainText = NO_MARKERS

    @property
    def raw(self) -> str:
        """All that an engine goes on with behind a raw prompt: that, and what of the answer is there."""
        return self.prompt + self.begun

    @property
    def mended(self) -> Mended:
        """What the text of the answer goes through."""
        return Mended(self.plain, self.begun)


def conversation_of(request: Generate, plain: PlainText = NO_MARKERS) -> Conversation:
    """Check the messages and part the answer that is to be continued from the turns before it.

    llama.cpp itself would accept an empty list and make something up. ``plain`` keeps the model's own markers out of
    what people wrote; in a raw prompt they stay what they are, for there is no template that they could break out of.

    Raises:
        RequestRefused: ``invalid_messages``.
    """
    if request.prompt:
        return _raw(request, plain)
    turns = tuple(_turn(message, plain) for message in request.messages)
    begun = request.prefix
    if turns and turns[-1].role == "assistant":
        begun = request.messages[-1].content + begun
        turns = turns[:-1]
    if not turns:
        raise RequestRefused("invalid_messages", "messages must hold at least one that is not the assistant's")
    if turns[-1].role == "assistant":
        raise RequestRefused("invalid_messages", "messages must not end with two of the assistant's")
    if len(turns) < len(request.messages) and request.messages[-1].tool_calls:
        raise RequestRefused("invalid_messages", "messages must hold the results of the assistant's last tool_calls")
    if begun and is_constrained(request):
        raise RequestRefused("invalid_messages", "an answer with tools or a format is written from its beginning only")
    return Conversation(turns=turns, begun=plain(begun), plain=plain)


def _raw(request: Generate, plain: PlainText) -> Conversation:
    if request.messages or is_constrained(request):
        raise RequestRefused("invalid_messages", "a raw prompt goes without messages, tools and a format")
    return Conversation(turns=(), prompt=request.prompt, begun=plain(request.prefix), plain=plain)


def _turn(message: Message, plain: PlainText) -> Message:
    role = "system" if message.role == "developer" else message.role
    calls = tuple(replace(call, arguments=plain(call.arguments)) for call in message.tool_calls)
    parts = tuple(
        replace(part, text=plain(part.text)) if isinstance(part, TextPart) else part for part in message.parts
    )
    return replace(message, role=role, content=plain(message.content), tool_calls=calls, parts=parts)


def context_exceeded(prompt_tokens: int, context_tokens: int) -> RequestRefused:
    """Make the refusal of a prompt that leaves no room for an answer."""
    return RequestRefused(
        "context_length_exceeded",
        f"the prompt has {prompt_tokens} tokens and this model's context holds {context_tokens}: shorten it",
    )
