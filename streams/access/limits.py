"""How much one account or key may ask of the mesh, and what of it is taken: values that gateways share."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from streams.tasks.chat import Count

MOST: int = 1_000_000_000
"""More per minute than any mesh can serve; so large that all sums stay exact in every language's numbers."""

Limit = Annotated[int, Meta(ge=1, le=MOST)]


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one account or one key may do; None: as much as there is."""

    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    concurrent_streams: Limit | None = None

    @property
    def has_any(self) -> bool:
        """Whether anything is limited at all."""
        return self != NO_LIMITS


NO_LIMITS: Limits = Limits()


class Bounds(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How large one answer may be, and how long it may take; None: as the mesh has it."""

    most_output_tokens: Limit | None = None
    most_seconds: Limit | None = None
    """From the request to the end of its task."""

    @property
    def has_any(self) -> bool:
        """Whether anything is bounded at all."""
        return self != NO_BOUNDS

    def within(self, other: Bounds) -> Bounds:
        """Where both hold: the tighter of each."""
        return Bounds(
            most_output_tokens=_tighter(self.most_output_tokens, other.most_output_tokens),
            most_seconds=_tighter(self.most_seconds, other.most_seconds),
        )


NO_BOUNDS: Bounds = Bounds()


def _tighter(a: int | None, b: int | None) -> int | None:
    return min((bound for bound in (a, b) if bound is not None), default=None)


class RateState(Struct, frozen=True, omit_defaults=True):
    """What is taken of one limit per minute: a debt that time pays back, as it was at ``at_ms``.

    ``debt`` counts in parts of which a request, or a token, has 60,000.
    """

    debt: Count = 0
    at_ms: Count = 0


class StreamHolder(Struct, frozen=True, omit_defaults=True):
    """How many streams one gateway holds open, or ready to be opened; believed until ``until_ms``."""

    name: str
    streams: Count
    until_ms: Count
