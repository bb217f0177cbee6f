"""What a node says of one model it serves."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Replica(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model loaded in one engine. Speeds are what the node measured itself at start, so they are claims."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    engine: str
    context_tokens: Annotated[int, Meta(ge=1)]
    """Tokens that prompt and answer of one request may fill together."""
    slots: Annotated[int, Meta(ge=1, le=4096)]
    """Requests that run at once; more are refused."""
    quantisation: str | None = None
    parameters: int | None = None
    file_bytes: int | None = None
    memory_bytes: int | None = None
    tokens_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    continues: bool = True
    """Whether the engine can go on from a text that another one began; else it must write the answer anew."""
