"""What a user asks of a model and what comes back: the values that events, requests and engines share."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Role = Literal["system", "developer", "user", "assistant", "tool"]
"""Who speaks; ``developer`` is OpenAI's newer name for ``system``."""

FinishReason = Literal["stop", "length"]
"""``stop``: the model or a stop string ended it. ``length``: ``max_tokens`` or the context ended it."""


Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""How many of something there are; every number that JSON can hold exactly."""


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn of a conversation."""

    role: Role
    content: str
    name: str | None = None


class Sampling(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to choose tokens; ``None`` leaves the choice to the engine. Bounds are OpenAI's.

    Only what is listed here ever reaches an engine: llama.cpp has had holes reachable by JSON parameters.
    """

    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=4)] = ()
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens as the model's own tokenizer counts them."""

    prompt_tokens: Count
    completion_tokens: Count
    cached_prompt_tokens: Count = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens
