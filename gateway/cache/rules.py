"""What the settings say about the response cache."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from msgspec import Struct

CacheMode = Literal["on", "opt-in", "off"]
"""Whether answers to requests that leave nothing to chance are given again unasked, or to who asks for it, or never."""

CacheTokens = Literal["free", "counted"]
"""Whether the tokens of an answer from the cache count towards the limits of whoever gets it."""


class CacheRules(Struct, frozen=True, kw_only=True):
    """How one gateway uses the cache."""

    mode: CacheMode = "on"
    ttl: timedelta = timedelta(hours=1)
    most_bytes: int = 256 * 1024
    shared_models: frozenset[str] = frozenset()
    """Models whose answers all accounts share."""
    tokens: CacheTokens = "free"
    patience: timedelta = timedelta(milliseconds=250)
    are_hits_kept: bool = True
    similar_model: str | None = None
    """What makes vectors of questions; None: only equal ones are found."""
    similar_distance: float = 0.1
    """How far apart two questions may be that count as the same: one less the cosine of their vectors."""
