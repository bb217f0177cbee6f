"""What an embedding model makes of texts: vectors, as the events and messages of a task carry them.

A task asks for an answer in words (``messages``) or for a vector of each text (``texts``); all else of its life is the
same. Where the answer is vectors, all that counts characters of text counts vectors.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final

from msgspec import Meta, Struct

MOST_TEXTS: Final = 2048
"""In one task; OpenAI's limit."""

MOST_DIMENSIONS: Final = 65_536

MOST_CHUNK_BYTES: Final = 256 * 1024
"""Of vectors in one chunk: one of the largest, or 170 of 384 numbers each."""

FLOAT_BYTES: Final = 4

Texts = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(max_length=MOST_TEXTS)]
Dimensions = Annotated[int, Meta(ge=1, le=MOST_DIMENSIONS)]


class Vectors(Struct, frozen=True, kw_only=True):
    """Some vectors of equal length, in the order of their texts."""

    count: Annotated[int, Meta(ge=1, le=MOST_TEXTS)]
    floats: Annotated[bytes, Meta(min_length=FLOAT_BYTES, max_length=MOST_CHUNK_BYTES)]
    """32-bit floats, the least byte first, one vector behind the other."""

    @property
    def dimensions(self) -> int | None:
        """Numbers in each vector; None where ``floats`` cannot be parted so."""
        numbers, rest = divmod(len(self.floats), FLOAT_BYTES * self.count)
        return None if rest else numbers

    def parted(self) -> tuple[bytes, ...]:
        """Each vector by itself; what cannot be parted evenly gives as many pieces as it can."""
        size = FLOAT_BYTES * (self.dimensions or 1)
        return tuple([self.floats[at * size : (at + 1) * size] for at in range(self.count)])


def numbers_of(vector: bytes) -> tuple[float, ...]:
    """Read one vector; bytes behind its last whole number are left out."""
    count = len(vector) // FLOAT_BYTES
    return struct.unpack_from(f"<{count}f", vector)
