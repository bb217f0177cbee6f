"""Passages of the files of vector stores, as PASSAGES holds them: derived, and kept so that a lost index costs nothing.

They count once STORES says that their generation is indexed (``streams.stores.events``); before that they are ignored.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from streams.tasks.chat import Count
from streams.tasks.vectors import FLOAT_BYTES, MOST_DIMENSIONS
from streams.wire import Wire

MOST_HEADINGS: Final = 8
MOST_HEADING_CHARS: Final = 200

Heading = Annotated[tuple[Annotated[str, Meta(max_length=MOST_HEADING_CHARS)], ...], Meta(max_length=MOST_HEADINGS)]


class Place(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a passage stands: its text is ``text[first:last]`` of the file's text, in characters (code points)."""

    first: Count
    last: Count
    page: Annotated[int, Meta(ge=1)] | None = None
    """On which page it begins, from 1; None: the file has no pages."""
    heading: Heading = ()
    """The headings above it, the outermost first."""


class Passage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some text of a file, and its vector."""

    number: Count
    """Of the file's passages, from 0."""
    text: Annotated[str, Meta(min_length=1)]
    place: Place
    tokens: Count
    """As they were counted for splitting: an estimate, no model's own count."""
    vector: Annotated[bytes, Meta(min_length=FLOAT_BYTES, max_length=FLOAT_BYTES * MOST_DIMENSIONS)]
    """32-bit floats, the least byte first."""


class PassageBatch(Wire, frozen=True, kw_only=True, tag="passage.batch.v1"):
    """Some passages of a file, one behind the other; the subject says of which file, generation and part."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    """That has made the vectors."""
    passages: Annotated[tuple[Passage, ...], Meta(min_length=1)]
