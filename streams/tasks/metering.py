"""What a task has used beyond what its end says anyway: the terms by which it is charged (ADR 22)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from streams.devices.replica import ModelKind, Tier

MOST_TOKENS = 2**40
"""No task uses more: what claims to is held back, not charged."""

Tokens = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Key = Annotated[str, Meta(max_length=64)]
"""The id of an API key."""

TokenClass = Literal["prompt", "cached_prompt", "completion", "embedding"]
"""What has a price of its own."""


class Metered(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an end says for whoever charges: who asked by which key, what kind of work it was, and where it was done."""

    key: Key | None = None
    """None: a session, the bus, or nobody had to say."""
    kind: ModelKind = "chat"
    tier: Tier = "edge"
    """Of the node that wrote last."""
    prompt_tokens: Tokens | None = None
    """Of a partial answer: the prompt as a checked claim of a node had it; None: nobody has said."""
    cached_prompt_tokens: Tokens = 0
    """Of those."""
