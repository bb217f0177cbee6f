"""A server's answer to texts, as OpenAI's API has it: read, put in order, and believed as far as it can be true."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from nodes.engines.embedding.batches import Answered
from nodes.engines.embedding.vectors import NUMBER_BYTES, unit, unpacked
from nodes.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHARACTERS_OF_A_TOKEN: Final = 4
_FRAMING_TOKENS: Final = 8
"""So many tokens, at most, does a model put around a text."""


class Vector(Struct, frozen=True):
    """One of them."""

    embedding: list[float] | str
    """The second is the same in base64: 32-bit floats, the least byte first."""
    index: int | None = None
    """Which text it is of; None: they are in the order of the texts."""


class Counted(Struct, frozen=True):
    """What the server counted."""

    prompt_tokens: int | None = None
    total_tokens: int | None = None


class Answer(Struct, frozen=True):
    """The whole document."""

    data: list[Vector]
    usage: Counted | None = None


def answered(answer: Answer, texts: tuple[str, ...]) -> Answered:
    """Make of an answer what the mesh wants of it.

    Raises:
        EngineError: it has not one vector for each text, all of one size.
    """
    vectors = tuple(unit(_numbers(vector.embedding)) for vector in _in_order(answer.data, len(texts)))
    sizes = sorted({len(vector) // NUMBER_BYTES for vector in vectors})
    if len(sizes) > 1:
        raise EngineError(f"the server gave vectors of different sizes: {sizes}")
    return Answered(vectors, _tokens(answer.usage, texts))


def _in_order(vectors: Sequence[Vector], count: int) -> list[Vector]:
    if len(vectors) != count:
        raise EngineError(f"the server gave {len(vectors)} vectors for {count} texts")
    numbers = [vector.index for vector in vectors]
    if any(number is None for number in numbers):
        return list(vectors)
    if sorted(number for number in numbers if number is not None) != list(range(count)):
        raise EngineError("the server does not say which vector is of which text")
    return sorted(vectors, key=lambda vector: vector.index or 0)


def _numbers(embedding: list[float] | str) -> Sequence[float]:
    if isinstance(embedding, list):
        return embedding
    try:
        return unpacked(base64.b64decode(embedding, validate=True))
    except (binascii.Error, ValueError) as error:
        raise EngineError(f"the server gave no vector: {error}") from error


def _tokens(usage: Counted | None, texts: tuple[str, ...]) -> int:
    """What it says, as far as that can be: a token has a byte at least. Where it says nothing: four characters each."""
    told = (usage.prompt_tokens or usage.total_tokens) if usage is not None else None
    if told is None:
        return sum(-(-len(text) // _CHARACTERS_OF_A_TOKEN) for text in texts)
    return max(0, min(told, sum(len(text.encode()) + _FRAMING_TOKENS for text in texts)))
