"""One node's part of a model that a shard group serves."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class GroupPart(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one member holds of the model, and the link to it as the leader measured it; the leader is a part too."""

    node: Annotated[str, Meta(min_length=1, max_length=64)]
    layers: Annotated[int, Meta(ge=0, le=100_000)]
    """The layer that turns the end into words counts as one."""
    memory_bytes: Annotated[int, Meta(ge=0, le=2**60)]
    """Weights and context, as they were planned."""
    rtt_ms: float | None = None
    mib_per_s: float | None = None
