"""What OpenAI's API lets a client say of vector stores, read strictly."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.http.errors import ApiError
from gateway.http.file_search import request as file_search
from gateway.http.file_search.request import FilterObject, RankingOptions, Results, Value
from gateway.http.invalid_body import explain
from streams.batches.events import Label
from streams.stores.events import MOST_ATTRIBUTES, MOST_PASSAGE_TOKENS, Attribute, Chunking
from streams.stores.messages import MOST_QUERY_CHARS

MOST_FILES_AT_ONCE: Final = 500
"""In one request; OpenAI's limit."""
MOST_QUERIES: Final = 8
MOST_PAGE: Final = 100
USUAL_PAGE: Final = 20
_LEAST_PASSAGE_TOKENS: Final = 100
"""OpenAI's limit of a chunk."""

_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Words = Annotated[str, Meta(max_length=512)]
_FileId = Annotated[str, Meta(max_length=64)]
_Attributes = Annotated[dict[_Name, Value], Meta(max_length=MOST_ATTRIBUTES)]
_Metadata = Annotated[dict[_Name, _Words], Meta(max_length=MOST_ATTRIBUTES)]
_Query = Annotated[str, Meta(min_length=1, max_length=MOST_QUERY_CHARS)]


class ExpiresAfter(Struct, frozen=True, kw_only=True):
    """How long a store is kept that nobody uses."""

    anchor: Literal["last_active_at"] = "last_active_at"
    days: Annotated[int, Meta(ge=1, le=365)]


class StaticSizes(Struct, frozen=True, kw_only=True):
    """``chunking_strategy.static``."""

    max_chunk_size_tokens: Annotated[int, Meta(ge=_LEAST_PASSAGE_TOKENS, le=MOST_PASSAGE_TOKENS)]
    chunk_overlap_tokens: Annotated[int, Meta(ge=0)]


class StaticChunking(Struct, frozen=True, kw_only=True, tag_field="type", tag="static"):
    """Passages of a size that the client chooses."""

    static: StaticSizes


class AutoChunking(Struct, frozen=True, kw_only=True, tag_field="type", tag="auto"):
    """Passages as the mesh makes them."""


ChunkingStrategy = AutoChunking | StaticChunking


class VectorStoreRequest(Struct, frozen=True, kw_only=True):
    """The body of a request for a store."""

    name: Annotated[str, Meta(max_length=256)] | None = None
    description: _Words | None = None
    file_ids: Annotated[list[_FileId], Meta(max_length=MOST_FILES_AT_ONCE)] | None = None
    chunking_strategy: ChunkingStrategy | None = None
    expires_after: ExpiresAfter | None = None
    metadata: _Metadata | None = None
    embedding_model: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class VectorStoreChange(Struct, frozen=True, kw_only=True):
    """The body of a request to call a store otherwise. What is not said stays."""

    name: Annotated[str, Meta(max_length=256)] | None = None
    expires_after: ExpiresAfter | UnsetType | None = UNSET
    metadata: _Metadata | UnsetType | None = UNSET


class StoreFileRequest(Struct, frozen=True, kw_only=True):
    """The body of a request to take a file into a store."""

    file_id: _FileId
    attributes: _Attributes | None = None
    chunking_strategy: ChunkingStrategy | None = None


class StoreFileChange(Struct, frozen=True, kw_only=True):
    """The body of a request to note other attributes on a file."""

    attributes: _Attributes | None


class FileBatchRequest(Struct, frozen=True, kw_only=True):
    """The body of a request to take several files in: all alike (``file_ids``), or each in its way (``files``)."""

    file_ids: Annotated[list[_FileId], Meta(max_length=MOST_FILES_AT_ONCE)] | None = None
    files: Annotated[list[StoreFileRequest], Meta(max_length=MOST_FILES_AT_ONCE)] | None = None
    attributes: _Attributes | None = None
    chunking_strategy: ChunkingStrategy | None = None


class SearchRequest(Struct, frozen=True, kw_only=True):
    """The body of a search."""

    query: _Query | Annotated[list[_Query], Meta(min_length=1, max_length=MOST_QUERIES)]
    filters: FilterObject | None = None
    max_num_results: Results | None = None
    ranking_options: RankingOptions | None = None
    rewrite_query: Literal[False] | None = None


class PageQuery(Struct, frozen=True, kw_only=True):
    """Which part of a list is wanted."""

    limit: Annotated[int, Meta(ge=1, le=MOST_PAGE)] = USUAL_PAGE
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None
    filter: Literal["in_progress", "completed", "failed", "cancelled"] | None = None


_ALLOWED: Final = {**file_search.ALLOWED, "anchor": ("last_active_at",), "order": ("asc", "desc")}
_UNSUPPORTED_VALUES: Final = frozenset({"rewrite_query"})
_Body = TypeVar(
    "_Body",
    VectorStoreRequest,
    VectorStoreChange,
    StoreFileRequest,
    StoreFileChange,
    FileBatchRequest,
    SearchRequest,
)


def read_body(body: bytes, kind: type[_Body]) -> _Body:
    """Read a request's body.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise explain(
            error, allowed=_ALLOWED, unsupported=file_search.UNSUPPORTED, unsupported_values=_UNSUPPORTED_VALUES
        ) from error


def read_page(query: dict[str, str]) -> PageQuery:
    """Read which part of a list is wanted.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    try:
        return msgspec.convert(query, PageQuery, strict=False)
    except msgspec.ValidationError as error:
        raise explain(error, allowed=_ALLOWED) from error


def chunking_of(given: ChunkingStrategy | None) -> Chunking | None:
    """How long passages are to be; None: as the mesh makes them.

    Raises:
        ApiError: 400, if they were to overlap by more than half.
    """
    if not isinstance(given, StaticChunking):
        return None
    sizes = given.static
    if 2 * sizes.chunk_overlap_tokens > sizes.max_chunk_size_tokens:
        place = "chunking_strategy.static.chunk_overlap_tokens"
        message = f"Invalid value for '{place}': passages overlap by half of max_chunk_size_tokens at most."
        raise ApiError(400, message, code="invalid_value", param=place)
    return Chunking(most_tokens=sizes.max_chunk_size_tokens, overlap_tokens=sizes.chunk_overlap_tokens)


def attributes_of(given: dict[str, str | float | bool] | None) -> tuple[Attribute, ...]:
    """What is noted on a file."""
    return tuple([Attribute(name=name, value=value) for name, value in (given or {}).items()])


def labels_of(given: dict[str, str] | None) -> tuple[Label, ...]:
    """What is noted on a store."""
    return tuple([Label(name=name, value=value) for name, value in (given or {}).items()])
