"""What a request may use, before anybody has counted: guessed, and settled at the end of its task.

Nobody here knows the model's tokens. Four bytes to a token fits English.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.limits.ticket import Price
from streams.tasks.chat import ImagePart
from streams.tasks.raw_prompts import said_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.events import TaskSubmitted
    from streams.tasks.chat import Message
    from streams.tasks.tools import Function

_BYTES_PER_TOKEN: Final = 4
_PER_MESSAGE: Final = 4
"""What a chat template puts around each message, in tokens, more or less."""
_PER_TEXT: Final = 2
"""What an embedding model puts around each text."""

PICTURE_TOKENS: Final = 768
"""What a picture is taken to be in a prompt: what OpenAI counts for one of 1024 by 1024, more or less."""


def price_of_messages(sizes: Iterable[int], longest_answer: int) -> Price:
    """Return what messages of these sizes, in bytes, may use with an answer of so many tokens."""
    return Price(prompt=sum(_PER_MESSAGE + size // _BYTES_PER_TOKEN for size in sizes), answer=longest_answer)


def price_of_texts(texts: Iterable[str]) -> Price:
    """Return what texts may use that become vectors: nothing is written."""
    return Price(
        prompt=sum(_PER_TEXT + len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN for text in texts), answer=0
    )


def price_of_task(asked: TaskSubmitted, *, answer_tokens: int) -> Price:
    """Return what a task may use; ``answer_tokens`` where it does not say how long its answer may be."""
    if asked.texts:
        return price_of_texts(asked.texts)
    sizes = [_size_of(message) for message in said_in(asked)]
    sizes += [] if asked.tools is None else map(_size_of_function, asked.tools.functions)
    wanted = asked.sampling.max_tokens
    return price_of_messages(sizes, answer_tokens if wanted is None else wanted)


def _size_of(message: Message) -> int:
    pictures = sum(isinstance(part, ImagePart) for part in message.parts)
    called = sum(len(call.name) + len(call.arguments.encode("utf-8", "replace")) for call in message.tool_calls)
    return len(message.content.encode("utf-8", "replace")) + called + pictures * PICTURE_TOKENS * _BYTES_PER_TOKEN


def _size_of_function(function: Function) -> int:
    texts = (function.name, function.description, function.parameters_json)
    return sum(len(text.encode("utf-8", "replace")) for text in texts)
