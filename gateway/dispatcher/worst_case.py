"""The most that a task may use, before anybody has counted: what is put aside for it, and no charge goes beyond.

A token stands for a byte at least, for every tokenizer, so the bytes of a question bound its tokens; by the same bounds
a result is believed or not (``gateway.dispatcher.plausible``). Each choice of a request is a task of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.dispatcher.plausible import prompt_bound
from gateway.dispatcher.vector_check import texts_bound

if TYPE_CHECKING:
    from streams.events import TaskSubmitted

UNKNOWN_CONTEXT: Final = 131_072
"""Taken for the context of a model that no live node serves: an answer cannot be longer in most."""


class WorstCase(NamedTuple):
    """Tokens that a task reads and writes at most."""

    prompt_tokens: int
    completion_tokens: int


def worst_case(asked: TaskSubmitted, context_tokens: int | None) -> WorstCase:
    """Return what a task may use at most.

    Args:
        asked: the task.
        context_tokens: the widest context of those who may write its answer; None: nobody is there now.
    """
    if asked.texts:
        return WorstCase(texts_bound(asked), 0)
    context = context_tokens or UNKNOWN_CONTEXT
    wanted = asked.sampling.max_tokens
    # What does not fit in the context is refused by the node, and costs nothing.
    return WorstCase(min(prompt_bound(asked), context), context if wanted is None else min(wanted, context))
