"""A passage as a point of Qdrant, in a folder and on a server alike."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from gateway.retrieval.index.index import Match, Origin
from streams.stores.passages import Place
from streams.tokens import Token

if TYPE_CHECKING:
    from streams.stores.passages import Passage

MEANING: Final = "meaning"
"""The vectors that a model has made."""
WORDS: Final = "words"
"""Sparse vectors, for BM25."""
ORIGIN: Final = "origin"
"""The field of a point that says what its passage is of."""

Payload: TypeAlias = dict[str, Any]
"""What Qdrant keeps beside the vectors, by its own clients' type."""

_ID_BYTES: Final = 16


class SparseWords(NamedTuple):
    """Words as Qdrant's BM25 knows them: numbers that stand for word stems, and the weight of each."""

    indices: list[int]
    values: list[float]


def point_id(origin: Origin, number: int) -> UUID:
    """Return the id of a passage's point: the same each time, so that adding it twice is adding it once."""
    text = f"{origin_text(origin)}:{number}"
    return UUID(bytes=hashlib.blake2b(text.encode(), digest_size=_ID_BYTES).digest())


def payload_of(origin: Origin, passage: Passage) -> Payload:
    """Return what is kept beside a passage's vectors."""
    return {
        ORIGIN: origin_text(origin),
        "number": passage.number,
        "text": passage.text,
        "place": msgspec.to_builtins(passage.place),
    }


def match_of(payload: Payload, score: float) -> Match:
    """Read a point that was found.

    Raises:
        msgspec.ValidationError: if it is not one of ours.
        KeyError: likewise.
    """
    return Match(
        origin=read_origin(payload[ORIGIN]),
        number=payload["number"],
        score=score,
        text=payload["text"],
        place=msgspec.convert(payload["place"], Place),
    )


def origin_text(origin: Origin) -> str:
    """Write an origin as one word."""
    return f"{origin.generation}:{origin.file}"


def read_origin(text: str) -> Origin:
    """Read what ``origin_text`` has written."""
    generation, _, file = text.partition(":")
    return Origin(Token(file), int(generation))
