"""When an answer may come from the cache, as the request itself says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from streams.events import TaskSubmitted

CacheUse = Literal["usual", "asked", "never"]
"""``usual``: whoever asks the same gets the same, so it may come from the cache. ``asked``: only where the client says
so. ``never``: no answer of the cache can be what its client is owed."""


def cache_use_of(draft: TaskSubmitted) -> CacheUse:
    """Usual where nothing is left to chance: greedy, or with a seed, and only text comes of it."""
    sampling = draft.sampling
    is_repeatable = sampling.temperature == 0 or sampling.seed is not None
    return "usual" if is_repeatable and draft.tools is None else "asked"
