"""What the end of a task says for whoever keeps accounts: which key asked, what is counted, where it was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from gateway.dispatcher.plausible import believed_prompt_tokens
from streams.events import TaskCompleted
from streams.tasks.metering import Metered

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.devices.replica import Tier
    from streams.events import EndEvent, TaskSubmitted
    from streams.tasks.task import TaskState

    TierOf = Callable[[str, str], Tier]
    """Where a node runs a model."""

E = TypeVar("E", bound="EndEvent")


def metered(end: E, asked: TaskSubmitted, state: TaskState, tier_of: TierOf) -> E:
    """Return ``end`` with all that a task's price depends on and its shares do not say.

    Of an answer that is not whole the prompt counts only if some of its text was delivered, and only by a claim that
    the question allows. What was read of texts that become vectors stands in the shares.
    """
    wrote = next((share.node for share in reversed(end.shares) if share.chars), None)
    is_whole = isinstance(end, TaskCompleted)
    claim = None if asked.texts or is_whole or not state.chars else state.prompt_tokens
    terms = Metered(
        key=asked.key,
        kind="embedding" if asked.texts else "chat",
        tier="edge" if wrote is None else tier_of(wrote, end.model),
        prompt_tokens=believed_prompt_tokens(asked, claim),
    )
    return replace(end, metered=terms)
