"""What a task needs of a node, read off what was asked: sizes are estimates, since nobody knows a model's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.intake.demands import needs_of
from gateway.limits.price import PICTURE_TOKENS
from gateway.scheduling.complexity import level_of
from gateway.scheduling.wish import NO_RULES, USUAL_ANSWER_TOKENS, Wish
from streams.tasks.abilities import may_call
from streams.tasks.chat import ImagePart
from streams.tasks.raw_prompts import said_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.scheduling.aliases import Alias
    from gateway.scheduling.wish import Level
    from streams.events import TaskSubmitted
    from streams.subjects import ServiceClass, TaskKey
    from streams.tasks.chat import Message
    from streams.tasks.task import TaskState
    from streams.tasks.tools import Function, Tools

_CHARS_PER_TOKEN: Final = 4
_PER_MESSAGE: Final = 4
"""What a chat template puts around each message, in tokens, more or less."""

_MOST_EXPECTED: Final = 512
"""Answers are seldom as long as they may be."""


def wish_of(
    key: TaskKey,
    asked: TaskSubmitted,
    service_class: ServiceClass,
    state: TaskState,
    *,
    at_ms: int,
    alias: Alias | None = None,
    needs_level: bool = True,
) -> Wish:
    """What an attempt at a task needs, but for what nodes may have read of it before.

    Args:
        key: the task.
        asked: what was submitted.
        service_class: how urgent it is.
        state: what earlier attempts came to.
        at_ms: now, in Unix milliseconds.
        alias: what was asked for, where that is no model.
        needs_level: whether how hard it is can matter; else it is taken for moderate.
    """
    if asked.texts:
        return _vectors_wish(key, asked, service_class, state, at_ms=at_ms, alias=alias)
    needs = needs_of(asked)
    level = _level_of(asked) if needs_level or alias is not None else "moderate"
    begun_with = state.model if state.chars else None
    most = asked.sampling.max_tokens
    return Wish(
        model=asked.model,
        models=() if alias is None else alias.models,
        losses_s=() if alias is None else alias.losses_s(level, begun_with=begun_with),
        seed=key.task,
        # A check is the account's too whose answer is checked: what must stay on its devices stays there.
        account=key.account if asked.check_of is None else asked.check_of.account,
        prompt_tokens=tokens_in(said_in(asked), asked.tools),
        answer_tokens=USUAL_ANSWER_TOKENS if most is None else min(most, _MOST_EXPECTED),
        most_answer_tokens=most or 0,
        needs=needs,
        service_class=service_class,
        level=level,
        # The dispatcher's own deadline is for what goes wrong, not for haste.
        left_s=None if asked.deadline_at_ms is None else (asked.deadline_at_ms - at_ms) / 1000,
        rules=asked.rules or NO_RULES,
        avoid=frozenset([failure.node for failure in state.failures]),
        has_text=state.chars > 0,
        check=asked.check_of,
    )


def _vectors_wish(
    key: TaskKey,
    asked: TaskSubmitted,
    service_class: ServiceClass,
    state: TaskState,
    *,
    at_ms: int,
    alias: Alias | None,
) -> Wish:
    """What texts need that are to become vectors: no answer is written, and no text is harder than another."""
    models = () if alias is None else alias.models
    if state.chars and state.model is not None:
        # Vectors of two models say nothing to each other: the one that has begun goes on.
        models = (state.model,)
    sizes = [1 + len(text) // _CHARS_PER_TOKEN for text in asked.texts]
    return Wish(
        model=asked.model,
        models=models,
        losses_s=() if alias is None or len(models) == 1 else alias.losses_s("simple", begun_with=None),
        seed=key.task,
        account=key.account,
        prompt_tokens=sum(sizes),
        answer_tokens=0,
        kind="embedding",
        longest_text_tokens=max(sizes),
        dimensions=asked.dimensions,
        service_class=service_class,
        level="simple",
        left_s=None if asked.deadline_at_ms is None else (asked.deadline_at_ms - at_ms) / 1000,
        rules=asked.rules or NO_RULES,
        avoid=frozenset([failure.node for failure in state.failures]),
        has_text=state.chars > 0,
    )


def _level_of(asked: TaskSubmitted) -> Level:
    return level_of(said_in(asked), has_tools=may_call(asked.tools), has_schema=asked.format is not None)


def tokens_in(messages: Sequence[Message], tools: Tools | None = None) -> int:
    """How many tokens a prompt has, more or less: four characters to one, and what stands around each message."""
    turns = sum([_PER_MESSAGE + _chars_in(message) // _CHARS_PER_TOKEN for message in messages])
    return turns if tools is None else turns + sum(map(_chars_of, tools.functions)) // _CHARS_PER_TOKEN


def _chars_in(message: Message) -> int:
    if not message.parts and not message.tool_calls:
        return len(message.content)
    pictures = sum(isinstance(part, ImagePart) for part in message.parts)
    calls = sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
    return len(message.content) + calls + pictures * PICTURE_TOKENS * _CHARS_PER_TOKEN


def _chars_of(function: Function) -> int:
    return len(function.name) + len(function.description) + len(function.parameters_json)
