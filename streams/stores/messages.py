"""Searching vector stores: requests to ``retrieval.search`` in CORE, and their answers."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from streams.stores.events import Attributes, AttributeValue, FileId
from streams.stores.passages import Place
from streams.wire import Wire

MOST_FOUND: Final = 50
"""In one answer; OpenAI's limit."""
MOST_QUERY_CHARS: Final = 16_384

_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Listed = Annotated[str, Meta(max_length=512)] | float

Comparing = Literal["eq", "ne", "gt", "gte", "lt", "lte"]


class Compared(Struct, frozen=True, kw_only=True, tag="compared", tag_field="type"):
    """Of an attribute of the file, against one value."""

    how: Comparing
    name: _Name
    value: AttributeValue


class Listed(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="listed", tag_field="type"):
    """Whether an attribute of the file is one of some values, or none of them."""

    name: _Name
    values: Annotated[tuple[_Listed, ...], Meta(max_length=1024)]
    is_none_of: bool = False


class Combined(Struct, frozen=True, kw_only=True, tag="combined", tag_field="type"):
    """All of some conditions, or any."""

    how: Literal["and", "or"]
    filters: Annotated[tuple[Compared | Listed | Combined, ...], Meta(max_length=256)]


Filter = Compared | Listed | Combined
"""What a file's attributes must be. One that a file has not, or of another kind, matches ``ne`` and nothing else."""

Ranking = Literal["auto", "dense", "lexical", "hybrid"]


class SearchPassages(Wire, frozen=True, kw_only=True, tag="retrieval.search.v1"):
    """Which passages say most about ``query``?"""

    account: _Name
    stores: Annotated[tuple[_Name, ...], Meta(min_length=1, max_length=16)]
    """All of this account: any other is refused as unknown."""
    query: Annotated[str, Meta(min_length=1, max_length=MOST_QUERY_CHARS)]
    limit: Annotated[int, Meta(ge=1, le=MOST_FOUND)] = 10
    filter: Filter | None = None
    threshold: _Share = 0.0
    """Of the score, from 0 to 1."""
    ranking: Ranking = "auto"
    key_id: Annotated[str, Meta(max_length=64)] | None = None
    """The API key that asks; None: a session, or nobody had to say."""


class FoundPassage(Struct, frozen=True, kw_only=True):
    """One passage, and how well it fits: from 0 to 1, comparable within one answer."""

    store: _Name
    file: FileId
    filename: Annotated[str, Meta(max_length=512)]
    attributes: Attributes
    score: _Share
    text: str
    place: Place


class FoundPassages(Wire, frozen=True, kw_only=True, tag="retrieval.found.v1"):
    """What was found, the best first."""

    hits: Annotated[tuple[FoundPassage, ...], Meta(max_length=MOST_FOUND)] = ()


class RetrievalRefused(Wire, frozen=True, kw_only=True, tag="retrieval.refused.v1"):
    """Why nothing was searched, and the status that HTTP has for it."""

    code: Annotated[str, Meta(max_length=64)]
    message: Annotated[str, Meta(max_length=1024)]
    status: Annotated[int, Meta(ge=400, le=599)]


RetrievalAnswer = FoundPassages | RetrievalRefused

RETRIEVAL_MESSAGES: Final[tuple[type[Wire], ...]] = (SearchPassages, FoundPassages, RetrievalRefused)
"""Every message of this module."""
