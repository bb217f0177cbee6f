"""What a user asks of a model and what comes back: the values that events, requests and engines share."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Role = Literal["system", "developer", "user", "assistant", "tool"]
"""Who speaks; ``developer`` is OpenAI's newer name for ``system``."""

FinishReason = Literal["stop", "length", "tool_calls"]
"""``stop``: the model or a stop string ended it. ``length``: ``max_tokens`` or the context ended it. ``tool_calls``:
the model wants functions called and their results."""


Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""How many of something there are; every number that JSON can hold exactly."""


class TextPart(Struct, frozen=True, kw_only=True, tag="text"):
    """A piece of a message's text."""

    text: str


class ImagePart(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="image"):
    """A picture in a message."""

    media_type: Annotated[str, Meta(max_length=64)]
    data: bytes
    detail: Literal["auto", "low", "high"] = "auto"


class ToolCall(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function that the assistant has called."""

    id: Annotated[str, Meta(max_length=64)]
    name: Annotated[str, Meta(max_length=64)]
    arguments: str
    """JSON, as the model wrote it."""


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn of a conversation."""

    role: Role
    content: str
    """All its text; where it has ``parts``, theirs joined."""
    name: str | None = None
    parts: tuple[TextPart | ImagePart, ...] = ()
    """Text and pictures in their order; none: the message is ``content`` alone."""
    tool_calls: Annotated[tuple[ToolCall, ...], Meta(max_length=128)] = ()
    """What an assistant's turn has called."""
    tool_call_id: Annotated[str, Meta(max_length=64)] | None = None
    """Which call a turn of the role ``tool`` has the result of."""


class TokenBias(Struct, frozen=True, kw_only=True):
    """What is added to the logit of one token of the model's own vocabulary."""

    token: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    bias: Annotated[float, Meta(ge=-100, le=100)]


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
    logit_bias: Annotated[tuple[TokenBias, ...], Meta(max_length=1024)] = ()
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    """How many likely tokens to name for each place; 0: the chosen one's logprob alone; None: no logprobs."""


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens as the model's own tokenizer counts them."""

    prompt_tokens: Count
    completion_tokens: Count
    cached_prompt_tokens: Count = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens
