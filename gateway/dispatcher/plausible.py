"""Whether the counts that a node gives for its answer can be true: pure, and from what is stored alone (ADR 14).

A token stands for a byte of text at least, so bytes bound tokens, for every tokenizer. What contradicts itself, or is
far beyond every bound, is a lie; what is only beyond a bound may be a fault of the engine, and is not believed either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from streams.tasks.chat import ImagePart
from streams.tasks.raw_prompts import said_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.events import TaskChunk, TaskSubmitted
    from streams.tasks.answer_parts import ToolCallPiece
    from streams.tasks.chat import Message, Usage
    from streams.tasks.task import TaskState

_TEMPLATE_TOKENS: Final = 1024
"""What a chat template may put before and around the messages, system prompt of its own included."""
_TURN_TOKENS: Final = 16
"""What it may put around one message."""
_CALL_TOKENS: Final = 64
"""What a model writes around the name and the arguments of a call; a template around a function or a call."""
_CALL_SPREAD: Final = 2
"""Arguments are published without the white space that a model may put into them."""
_TOOLS_SPREAD: Final = 4
"""Templates show functions with white space, some of them twice."""
_PICTURE_TOKENS: Final = 20_000
"""More than any model makes of a picture."""
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
        prefix_bytes: how long the text, with the calls, is that earlier attempts have written.
    """
    if usage.completion_tokens != state.tokens:
        counts = f"its usage says {usage.completion_tokens} completion tokens, its chunks say {state.tokens}"
        return Fault(message=counts, is_lie=True)
    if usage.cached_prompt_tokens > usage.prompt_tokens:
        counts = f"{usage.cached_prompt_tokens} of {usage.prompt_tokens} prompt tokens are said to be cached"
        return Fault(message=counts, is_lie=True)
    return (
        _text_fault(asked, state, chunks, prefix_bytes)
        or _beyond("prompt tokens", usage.prompt_tokens, prompt_bound(asked) + prefix_bytes)
        or _length_fault(asked, usage)
    )


def believed_prompt_tokens(asked: TaskSubmitted, claim: int | None) -> int | None:
    """Return what a node says of a prompt's length before its answer is whole, if that can be."""
    return claim if claim is not None and claim <= prompt_bound(asked) else None


def byte_count(text: str) -> int:
    """How long a text is in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def call_bytes(calls: Iterable[ToolCallPiece]) -> int:
    """What of an answer's tokens its calls may stand for, in bytes."""
    return sum(byte_count(call.name or "") + _CALL_SPREAD * byte_count(call.arguments) for call in calls)


def _begun(calls: Iterable[ToolCallPiece]) -> int:
    return sum(1 for call in calls if call.name is not None)


def _text_fault(asked: TaskSubmitted, state: TaskState, chunks: Sequence[TaskChunk], prefix_bytes: int) -> Fault | None:
    # A replay counts the text before it in its own way, and what it counts more there it adds to its first chunk.
    room = prefix_bytes if state.seam == "replayed" else 0
    room += _SILENT_TOKENS + sum(map(byte_count, asked.sampling.stop))
    tokens = 0
    for chunk in chunks:
        if chunk.vectors is not None:
            return Fault(message="it gave vectors, where words were asked for", is_lie=False)
        tokens += chunk.tokens
        room += byte_count(chunk.text) + call_bytes(chunk.tool_calls) + _CALL_TOKENS * _begun(chunk.tool_calls)
        if (fault := _beyond("completion tokens", tokens, room)) is not None:
            return fault
    return None


def prompt_bound(asked: TaskSubmitted) -> int:
    """Return the most tokens that the messages of a task can be, whatever the tokenizer and the template."""
    return _TEMPLATE_TOKENS + sum(map(_turn_bound, said_in(asked))) + _demands_bound(asked)


def _turn_bound(turn: Message) -> int:
    said = byte_count(turn.content) + byte_count(turn.name or "") + byte_count(turn.tool_call_id or "")
    called = sum(_CALL_TOKENS + len(call.id) + _TOOLS_SPREAD * byte_count(call.arguments) for call in turn.tool_calls)
    pictures = sum(1 for part in turn.parts if isinstance(part, ImagePart))
    return _TURN_TOKENS + said + called + pictures * _PICTURE_TOKENS


def _demands_bound(asked: TaskSubmitted) -> int:
    """What a template may say of functions and of the format."""
    functions = () if asked.tools is None else asked.tools.functions
    told = sum(
        _CALL_TOKENS + len(one.name) + _TOOLS_SPREAD * (byte_count(one.description) + byte_count(one.parameters_json))
        for one in functions
    )
    return told + (0 if asked.format is None else _CALL_TOKENS + _TOOLS_SPREAD * byte_count(asked.format.schema_json))


def _length_fault(asked: TaskSubmitted, usage: Usage) -> Fault | None:
    most = asked.sampling.max_tokens
    if most is None or usage.completion_tokens <= most:
        return None
    return Fault(message=f"{usage.completion_tokens} completion tokens, where {most} were asked for", is_lie=False)


def _beyond(what: str, count: int, bound: int) -> Fault | None:
    if count <= bound:
        return None
    return Fault(message=f"{count} {what}, where {bound} is the most there can be", is_lie=count > _WILD * bound)
