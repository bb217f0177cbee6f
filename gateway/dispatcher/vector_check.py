"""Whether vectors can be what was asked for: as many as texts, of one length each, of real numbers (ADR 14)."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final

from gateway.dispatcher.plausible import Fault, byte_count
from streams.tasks.vectors import FLOAT_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.events import TaskChunk, TaskSubmitted
    from streams.tasks.chat import Usage
    from streams.tasks.task import TaskState
    from streams.tasks.vectors import Vectors

_OFF: Final = 1e-3
"""How far from 1 the length of a vector may be: what 32 bits and a server's rounding make of it."""

_AROUND_TEXT: Final = 16
"""Tokens that a model may put around a text."""
_WILD: Final = 4


def vectors_fault(
    asked: TaskSubmitted, state: TaskState, usage: Usage, chunks: Sequence[TaskChunk], *, dimensions: int | None
) -> Fault | None:
    """Say what is wrong with a whole answer of vectors.

    Args:
        asked: the question.
        state: what the task's events add up to.
        usage: what the last chunk says.
        chunks: those of the last attempt, in order.
        dimensions: numbers that each vector must have: what was asked for, or announced, or came before; None: any.
    """
    if usage.completion_tokens or usage.prompt_tokens != state.tokens:
        counts = f"its usage says {usage.prompt_tokens} tokens read and {usage.completion_tokens} written"
        return Fault(message=f"{counts}, its chunks say {state.tokens} read", is_lie=True)
    if state.chars != len(asked.texts):
        return Fault(message=f"{state.chars} vectors, where {len(asked.texts)} texts were given", is_lie=False)
    return _count_fault(asked, usage) or _numbers_fault(chunks, dimensions)


def texts_bound(asked: TaskSubmitted) -> int:
    """Return the most tokens that the texts of a task can be, whatever the tokenizer."""
    return sum([_AROUND_TEXT + byte_count(text) for text in asked.texts])


def _count_fault(asked: TaskSubmitted, usage: Usage) -> Fault | None:
    bound = texts_bound(asked)
    if usage.prompt_tokens <= bound:
        return None
    message = f"{usage.prompt_tokens} tokens of texts, where {bound} is the most there can be"
    return Fault(message=message, is_lie=usage.prompt_tokens > _WILD * bound)


def _numbers_fault(chunks: Sequence[TaskChunk], dimensions: int | None) -> Fault | None:
    for chunk in chunks:
        if chunk.vectors is None:
            if chunk.text:
                return Fault(message="it wrote text, where vectors were asked for", is_lie=False)
            continue
        found = chunk.vectors.dimensions
        if found is None:
            held = f"{chunk.vectors.count} vectors in {len(chunk.vectors.floats)} bytes"
            return Fault(message=f"{held}, which cannot be parted", is_lie=False)
        dimensions = dimensions or found
        if found != dimensions:
            return Fault(message=f"vectors of {found} numbers, where {dimensions} were due", is_lie=False)
        if (wrong := _unlike_one(chunk.vectors, found)) is not None:
            return Fault(message=f"vector {chunk.offset + wrong} is no vector of length 1", is_lie=False)
    return None


def _unlike_one(vectors: Vectors, dimensions: int) -> int | None:
    """Which of some vectors has not the length 1, or numbers that are none; None if none has."""
    numbers = struct.Struct(f"<{dimensions}f")
    for place in range(vectors.count):
        length = math.hypot(*numbers.unpack_from(vectors.floats, place * dimensions * FLOAT_BYTES))
        if not abs(length - 1) <= _OFF:
            return place
    return None
