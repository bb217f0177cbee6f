"""What an answer may have beside its text: calls of functions, and how likely its tokens were."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class ToolCallPiece(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one call has grown by. The first piece of a call names it; the arguments of all its pieces make its JSON."""

    index: Annotated[int, Meta(ge=0, le=127)]
    """Which call of the answer, from 0; a call begins only when the one before it is whole."""
    id: Annotated[str, Meta(max_length=64)] | None = None
    name: Annotated[str, Meta(max_length=64)] | None = None
    arguments: str = ""


class LikelyToken(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token that could have stood in a place."""

    token: str
    logprob: float
    raw: bytes | None = None
    """Its bytes, where they are no whole characters."""


class TokenLogprob(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token of the answer, its natural logarithm of probability, and what else could have stood there."""

    token: str
    logprob: float
    raw: bytes | None = None
    top: tuple[LikelyToken, ...] = ()


def chars_in(text: str, calls: tuple[ToolCallPiece, ...]) -> int:
    """How far a chunk takes an answer: the characters of its text and of its calls' arguments."""
    return len(text) + sum(len(call.arguments) for call in calls) if calls else len(text)
