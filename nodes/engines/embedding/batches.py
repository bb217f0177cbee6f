"""A request of many texts, asked of a server a batch at a time."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from nodes.embedding import Embedded
from nodes.errors import RequestRefused
from streams.tasks.chat import Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BATCH_TEXTS: Final = 32
"""So many texts go into one question at most: an answer of that many long vectors is still read at once, and the
providers that count texts allow it."""

BATCH_CHARACTERS: Final = 8192
"""So much goes into one question, or a single text: llama-server works to the end of a question that nobody waits for
any more."""


class Answered(NamedTuple):
    """What a server made of a batch."""

    vectors: tuple[bytes, ...]
    tokens: int


async def in_batches(texts: tuple[str, ...], ask: Callable[[tuple[str, ...]], Awaitable[Answered]]) -> Embedded:
    """Ask for all texts. A batch that is refused is asked for text by text, so that the one at fault is named.

    Raises:
        RequestRefused: a text is refused; the message says which.
        EngineError: raised by ``ask``.
    """
    vectors: list[bytes] = []
    tokens = 0
    while len(vectors) < len(texts):
        at = len(vectors)
        for answered in await _asked(texts[at : at + _fitting(texts, at)], at, ask):
            vectors += answered.vectors
            tokens += answered.tokens
    return Embedded(vectors=tuple(vectors), usage=Usage(prompt_tokens=tokens, completion_tokens=0))


def _fitting(texts: tuple[str, ...], at: int) -> int:
    """How many of the texts from ``at`` on go into one question."""
    sizes = accumulate(map(len, texts[at : at + BATCH_TEXTS]))
    return max(1, sum(size <= BATCH_CHARACTERS for size in sizes))


async def _asked(
    batch: tuple[str, ...], at: int, ask: Callable[[tuple[str, ...]], Awaitable[Answered]]
) -> list[Answered]:
    try:
        return [await ask(batch)]
    except RequestRefused as error:
        if len(batch) == 1:
            raise _named(error, at) from error
    return [answered for number, text in enumerate(batch, at) for answered in await _asked((text,), number, ask)]


def _named(error: RequestRefused, number: int) -> RequestRefused:
    code = "invalid_input" if error.code == "invalid_messages" else error.code
    return RequestRefused(code, f"text {number} is refused: {error.message}")
