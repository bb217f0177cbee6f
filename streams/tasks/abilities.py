"""Which abilities a request takes, beyond plain text: one rule for who places it and for the engine that gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.tasks.chat import ImagePart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streams.devices.replica import Ability
    from streams.tasks.chat import Message, Sampling
    from streams.tasks.tools import OutputFormat, Tools


def needed(
    messages: Sequence[Message],
    sampling: Sampling,
    tools: Tools | None,
    output_format: OutputFormat | None,
    *,
    is_raw: bool = False,
) -> frozenset[Ability]:
    """Say what an engine must be able to do. Tools that may not be called (``none``) take nothing.

    ``is_raw``: whether a raw prompt stands in the place of messages (``streams.tasks.raw_prompts``).
    """
    return frozenset(_needed(messages, sampling, tools, output_format, is_raw=is_raw))


def may_call(tools: Tools | None) -> bool:
    """Whether the model may, or must, call a function."""
    return tools is not None and tools.choice != "none"


def _needed(
    messages: Sequence[Message],
    sampling: Sampling,
    tools: Tools | None,
    output_format: OutputFormat | None,
    *,
    is_raw: bool,
) -> Iterator[Ability]:
    if is_raw:
        yield "raw_prompt"
    if may_call(tools) or any(message.tool_calls for message in messages):
        yield "tools"
    if output_format is not None:
        yield "schema"
    if any(isinstance(part, ImagePart) for message in messages for part in message.parts):
        yield "vision"
    if sampling.top_logprobs is not None:
        yield "logprobs"
    if sampling.logit_bias:
        yield "logit_bias"
