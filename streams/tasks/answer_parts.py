"""What an answer may have beside its text: calls of functions, and how likely its tokens were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

if TYPE_CHECKING:
    from collections.abc import Iterable


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


def bytes_of(place: TokenLogprob) -> bytes:
    """The part of the text that a token is."""
    return place.token.encode() if place.raw is None else place.raw


def chars_in(text: str, calls: tuple[ToolCallPiece, ...]) -> int:
    """How far a chunk takes an answer: the characters of its text and of its calls' arguments."""
    return len(text) + sum(len(call.arguments) for call in calls) if calls else len(text)


def joined_calls(pieces: Iterable[ToolCallPiece]) -> tuple[ToolCallPiece, ...]:
    """Make one piece of all that each call has grown by, in the order of their indices."""
    begun: dict[int, list[ToolCallPiece]] = {}
    for piece in pieces:
        begun.setdefault(piece.index, []).append(piece)
    return tuple(_joined(begun[index]) for index in sorted(begun))


def _joined(pieces: list[ToolCallPiece]) -> ToolCallPiece:
    first = pieces[0]
    if len(pieces) == 1:
        return first
    return ToolCallPiece(
        index=first.index,
        id=next((piece.id for piece in pieces if piece.id is not None), None),
        name=next((piece.name for piece in pieces if piece.name is not None), None),
        arguments="".join([piece.arguments for piece in pieces]),
    )
