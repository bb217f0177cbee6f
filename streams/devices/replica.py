"""What a node says of one model it serves."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

Tier = Literal["edge", "group", "cloud"]
"""Where a replica runs: on one device of the mesh, on several that share its model, or at a provider outside."""

ModelKind = Literal["chat", "embedding"]
"""What a model makes of what it is given: an answer in words, or a vector of each text."""

Ability = Literal["tools", "schema", "vision", "logprobs", "logit_bias", "raw_prompt"]
"""What an engine can do beyond answering messages in plain text: tool calls, output under a JSON schema, images in,
logprobs out, a bias of the user's on single tokens, and going on with a prompt that no chat template touches."""

MOST_SLOTS: Final = 4096

_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Price = Annotated[int, Meta(ge=0, le=10**12)]


class Price(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a million tokens cost, in millionths of the currency's unit."""

    currency: Annotated[str, Meta(min_length=3, max_length=8)] = "USD"
    prompt_micro: _Price = 0
    completion_micro: _Price = 0
    cached_prompt_micro: _Price | None = None
    """``None``: as much as any other token of a prompt."""


class Replica(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model loaded in one engine. Speeds are what the node measured itself at start, so they are claims."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    engine: str
    context_tokens: Annotated[int, Meta(ge=1)]
    """Tokens that prompt and answer of one request may fill together."""
    slots: Annotated[int, Meta(ge=1, le=MOST_SLOTS)]
    """Requests that run at once; more are refused."""
    quantisation: str | None = None
    parameters: int | None = None
    file_bytes: int | None = None
    memory_bytes: int | None = None
    tokens_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    continues: bool = True
    """Whether the engine can go on from a text that another one began; else it must write the answer anew."""
    kind: ModelKind = "chat"
    dimensions: Annotated[int, Meta(ge=1, le=65536)] | None = None
    """Numbers in a vector; embedding models only."""
    shortens: bool = False
    """Whether fewer of them are a vector too: the model was trained so that the first ones say the most."""
    abilities: Annotated[tuple[Ability, ...], Meta(max_length=8)] = ()
    tier: Tier = "edge"
    region: _Name | None = None
    """Where data goes, for rules of residency: a name that the operator chose, such as ``eu``."""
    site: _Name | None = None
    """Which house or data centre it is in: nodes of one site are near each other."""
    price: Price | None = None
    """What its owner asks; ``None``: the mesh's own price."""
