"""Whether the counts that a node gives for its answer can be true: pure, and from what is stored alone (ADR 14).

A token stands for a byte of text at least, so bytes bound tokens, for every tokenizer. What contradicts itself, or is
far beyond every bound, is a lie; what is only beyond a bound may be a fault of the engine, and is not believed either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.chat import Usage
    from streams.events import TaskChunk, TaskSubmitted
    from streams.task import TaskState

_TEMPLATE_TOKENS: Final = 1024
"""What a chat template may put before and around the messages, system prompt of its own included."""
_TURN_TOKENS: Final = 16
"""What it may put around one message."""
_SILENT_TOKENS: Final = 64
"""Tokens of an attempt that may give no text: control tokens, and what was held back as the beginning of a stop."""
_WILD: Final = 4
"""No fault of an engine makes a count that is so many times its bound."""


class Fault(Struct, frozen=True, kw_only=True):
    """Why a result is not believed; never any of its text."""

    message: str
    is_lie: bool
    """Whether nothing but a lie, or a broken program, makes such a result: the device is suspended."""


def usage_fault(
    asked: TaskSubmitted, state: TaskState, usage: Usage, chunks: Sequence[TaskChunk], *, prefix_bytes: int
) -> Fault | None:
    """Say what is wrong with the counts of a whole answer.

    Args:
        asked: the question.
        state: what the task's events add up to.
        usage: what the last chunk says.
        chunks: those of the last attempt, in order.
        prefix_bytes: how long the text is that earlier attempts have written.
    """
    if usage.completion_tokens != state.tokens:
        counts = f"its usage says {usage.completion_tokens} completion tokens, its chunks say {state.tokens}"
        return Fault(message=counts, is_lie=True)
    if usage.cached_prompt_tokens > usage.prompt_tokens:
        counts = f"{usage.cached_prompt_tokens} of {usage.prompt_tokens} prompt tokens are said to be cached"
        return Fault(message=counts, is_lie=True)
    return (
        _text_fault(asked, state, chunks, prefix_bytes)
        or _beyond("prompt tokens", usage.prompt_tokens, _prompt_bound(asked) + prefix_bytes)
        or _length_fault(asked, usage)
    )


def byte_count(text: str) -> int:
    """How long a text is in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _text_fault(asked: TaskSubmitted, state: TaskState, chunks: Sequence[TaskChunk], prefix_bytes: int) -> Fault | None:
    # A replay counts the text before it in its own way, and what it counts more there it adds to its first chunk.
    room = prefix_bytes if state.seam == "replayed" else 0
    room += _SILENT_TOKENS + sum(map(byte_count, asked.sampling.stop))
    tokens = 0
    for chunk in chunks:
        if chunk.vectors is not None:
            return Fault(message="it gave vectors, where words were asked for", is_lie=False)
        tokens += chunk.tokens
        room += byte_count(chunk.text)
        if (fault := _beyond("completion tokens", tokens, room)) is not None:
            return fault
    return None


def _prompt_bound(asked: TaskSubmitted) -> int:
    turns = (_TURN_TOKENS + byte_count(turn.content) + byte_count(turn.name or "") for turn in asked.messages)
    return _TEMPLATE_TOKENS + sum(turns)


def _length_fault(asked: TaskSubmitted, usage: Usage) -> Fault | None:
    most = asked.sampling.max_tokens
    if most is None or usage.completion_tokens <= most:
        return None
    return Fault(message=f"{usage.completion_tokens} completion tokens, where {most} were asked for", is_lie=False)


def _beyond(what: str, count: int, bound: int) -> Fault | None:
    if count <= bound:
        return None
    return Fault(message=f"{count} {what}, where {bound} is the most there can be", is_lie=count > _WILD * bound)
