"""What is kept of a placement in the ``assigned`` marker: the reasons for the choice of a node."""

from __future__ import annotations

from msgspec import Struct


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
