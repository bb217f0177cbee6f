"""Anthropic's objects, as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Raw, Struct

from streams.tasks.chat import Usage

if TYPE_CHECKING:
    from mesh.bus.answer import AnswerText
    from streams.tasks.chat import FinishReason, ToolCall
    from streams.tasks.task import TaskState
    from streams.tokens import Token

StopReason = Literal["end_turn", "max_tokens", "tool_use"]
_STOP_REASONS: Final[dict[FinishReason, StopReason]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
}


class TextBlock(Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """A piece of what the model said."""

    text: str


class ToolUseBlock(Struct, frozen=True, kw_only=True, tag_field="type", tag="tool_use"):
    """A function that the model wants called."""

    id: str
    name: str
    input: Raw


class UsageObject(Struct, frozen=True, kw_only=True):
    """How many tokens it took; what was read from a cache is not part of ``input_tokens``."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


class Message(Struct, frozen=True, kw_only=True):
    """An answer."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: tuple[TextBlock | ToolUseBlock, ...]
    stop_reason: StopReason | None
    stop_sequence: None = None
    usage: UsageObject


def message_of(task: Token, model: str, answer: AnswerText, state: TaskState) -> Message:
    """A completed task's answer."""
    text = str(answer)
    calls = tuple([_tool_use(call) for call in answer.tool_calls])
    return Message(
        id=message_id(task),
        model=state.model or model,
        content=(*((TextBlock(text=text),) if text or not calls else ()), *calls),
        stop_reason=stop_reason_of(state),
        usage=usage_of(state),
    )


def message_id(task: Token) -> str:
    """The id under which Anthropic's clients know a task."""
    return f"msg_{task}"


def stop_reason_of(state: TaskState) -> StopReason:
    """Why a completed answer ends where it does; a stop sequence is not told from the model's own end."""
    return _STOP_REASONS[state.finish_reason or "stop"]


def usage_of(state: TaskState) -> UsageObject:
    """The usage of a task, as far as it is known."""
    usage = state.usage or Usage(prompt_tokens=0, completion_tokens=state.tokens)
    return UsageObject(
        input_tokens=max(usage.prompt_tokens - usage.cached_prompt_tokens, 0),
        output_tokens=usage.completion_tokens,
        cache_read_input_tokens=usage.cached_prompt_tokens,
    )


def _tool_use(call: ToolCall) -> ToolUseBlock:
    """A call as Anthropic's clients expect it: an object, whatever the model wrote."""
    arguments = call.arguments or "{}"
    try:
        is_object = isinstance(msgspec.json.decode(arguments), dict)
    except msgspec.DecodeError:
        is_object = False
    given = arguments.encode() if is_object else msgspec.json.encode({"invalid_arguments": arguments})
    return ToolUseBlock(id=call.id, name=call.name, input=Raw(given))
