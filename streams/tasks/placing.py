"""What is asked of a placement, and what is kept of it in the ``assigned`` marker: the reasons for the choice."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Redaction = Literal["off", "standard", "strict"]
"""How much of what a provider outside is asked is hidden from it (ADR 21)."""


class Part(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of a score, in seconds that the task gains there, or loses."""

    name: str
    value: float


class Candidate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node as the scheduler saw it: a score, or why it was passed over."""

    node: str
    score: float | None = None
    rejected: str | None = None
    has_failed: bool = False
    """Whether it has failed this task: then it comes behind all others, whatever its score."""
    parts: tuple[Part, ...] = ()
    """How the score came about, of the best few; what is nothing is left out."""
    model: str | None = None
    """What it would have answered with, where that is not the model that was asked for."""
    first_token_s: float | None = None
    """When the scheduler expected the first token, of the best few."""
    finish_s: float | None = None
    """When it expected the whole answer."""


class Rejects(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many nodes were passed over for one reason."""

    reason: str
    count: int


class Hedge(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A second node that was asked for the first word too, because that of the first one was late (ADR 18)."""

    attempt: Annotated[int, Meta(ge=1)]
    """Beside which attempt."""
    beside: str
    """Who had the task."""
    node: str
    """Who was asked too."""
    waited_s: float
    """How long nothing had been written by then."""
    samples: Annotated[int, Meta(ge=0)] = 0
    """How many first words that time is the 95th percentile of; 0: it was predicted."""
    outcome: Literal["won", "lost", "left", "over"] = "over"
    """``won``: the second node's words are the answer. ``lost``: the first one was first. ``left``: the second one
    refused, or was lost. ``over``: the attempt ended before either had a word."""


class Rules(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What whoever submits a task will not have otherwise; nothing set: all goes."""

    policy: Annotated[str, Meta(max_length=32)] = ""
    """Name of the policy to place it by; none: the mesh's own."""
    region: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """Only replicas that say this region."""
    highest_price_micro: Annotated[int, Meta(ge=0, le=10**12)] | None = None
    """Millionths of a currency's unit for a million tokens, of a prompt or an answer, that a replica may ask."""
    lowest_reputation: Annotated[float, Meta(ge=0, le=1)] = 0.0
    redaction: Redaction | None = None
    """What providers outside are not to see of it; None: what the node's operator has set."""
