"""OpenAI's objects of vector stores, as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar

from msgspec import Struct

from gateway.http.file_search.objects import PlaceObject, attributes_object, place_object
from gateway.http.vector_stores.request import ExpiresAfter, StaticChunking, StaticSizes
from streams.clock import now_ms
from streams.stores.fold import FileStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.retrieval.store_log import Standing
    from streams.stores.events import Chunking, StoreFileFailed
    from streams.stores.fold import StoreFile
    from streams.stores.messages import FoundPassage
    from streams.tokens import Token

_MS: Final = 1000
_OF_THE_MESH: Final = frozenset({"model_not_found", "embedding_failed", "account_closed"})
"""Why a file fails that is not its own fault."""

T = TypeVar("T")


class FileCounts(Struct, frozen=True, kw_only=True):
    """How many files stand how."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class VectorStore(Struct, frozen=True, kw_only=True):
    """A store."""

    id: str
    object: Literal["vector_store"] = "vector_store"
    created_at: int
    name: str
    description: str
    usage_bytes: int
    file_counts: FileCounts
    status: Literal["expired", "in_progress", "completed"]
    expires_after: ExpiresAfter | None
    expires_at: int | None
    last_active_at: int
    metadata: dict[str, str]
    embedding_model: str
    """What makes its vectors; of this mesh."""


class LastError(Struct, frozen=True, kw_only=True):
    """Why a file could not be taken in: in OpenAI's words, and in ``reason`` in the mesh's own."""

    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str
    reason: str


class OtherChunking(Struct, frozen=True, kw_only=True, tag_field="type", tag="other"):
    """Passages as the mesh makes them."""


class VectorStoreFile(Struct, frozen=True, kw_only=True):
    """A file of a store."""

    id: str
    object: Literal["vector_store.file"] = "vector_store.file"
    created_at: int
    vector_store_id: str
    status: FileStatus
    usage_bytes: int
    last_error: LastError | None
    attributes: dict[str, str | float | bool]
    chunking_strategy: StaticChunking | OtherChunking
    filename: str
    """Of this mesh, as what follows."""
    passages: int


class FileBatch(Struct, frozen=True, kw_only=True):
    """Files that were added at once."""

    id: str
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    created_at: int
    vector_store_id: str
    status: FileStatus
    file_counts: FileCounts


class ListOf(Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list."""

    object: Literal["list"] = "list"
    data: tuple[T, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class StoreGone(Struct, frozen=True, kw_only=True):
    """What is left of a store that was deleted."""

    id: str
    object: Literal["vector_store.deleted"] = "vector_store.deleted"
    deleted: Literal[True] = True


class StoreFileGone(Struct, frozen=True, kw_only=True):
    """What is left of a file in a store."""

    id: str
    object: Literal["vector_store.file.deleted"] = "vector_store.file.deleted"
    deleted: Literal[True] = True


class ContentText(Struct, frozen=True, kw_only=True):
    """A piece of text."""

    type: Literal["text"] = "text"
    text: str


class FileContent(Struct, frozen=True, kw_only=True):
    """The passages of a file, in their order."""

    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"
    data: tuple[ContentText, ...]
    has_more: Literal[False] = False
    next_page: None = None


class SearchHit(Struct, frozen=True, kw_only=True):
    """A passage that was found."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, str | float | bool]
    content: tuple[ContentText, ...]
    vector_store_id: str
    """Of this mesh, as what follows."""
    place: PlaceObject


class SearchPage(Struct, frozen=True, kw_only=True):
    """What was found, the best first."""

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: tuple[str, ...]
    data: tuple[SearchHit, ...]
    has_more: Literal[False] = False
    next_page: None = None


def store_object(standing: Standing) -> VectorStore:
    """A store as clients read it."""
    state = standing.state
    days, expires_at_ms = state.expires_after_days, state.expires_at_ms
    counts = counts_of(state.files.values())
    return VectorStore(
        id=standing.key.store,
        created_at=state.opened.at_ms // _MS,
        name=state.name,
        description=state.opened.description,
        usage_bytes=state.usage_bytes,
        file_counts=counts,
        status="expired" if state.is_over(now_ms()) else "in_progress" if counts.in_progress else "completed",
        expires_after=None if days is None else ExpiresAfter(days=days),
        expires_at=None if expires_at_ms is None else expires_at_ms // _MS,
        last_active_at=state.used_at_ms // _MS,
        metadata={label.name: label.value for label in state.labels},
        embedding_model=state.model,
    )


def file_object(store: Token, file: StoreFile) -> VectorStoreFile:
    """A file of a store as clients read it."""
    indexed, fault = file.indexed, file.fault
    return VectorStoreFile(
        id=file.id,
        created_at=file.added_at_ms // _MS,
        vector_store_id=store,
        status=file.status,
        usage_bytes=0 if indexed is None else indexed.bytes,
        last_error=None if fault is None else _last_error(fault),
        attributes={attribute.name: attribute.value for attribute in file.attributes},
        chunking_strategy=_chunking_object(file.chunking),
        filename=file.filename,
        passages=0 if indexed is None else indexed.passages,
    )


def batch_object(store: Token, batch: str, files: Sequence[StoreFile]) -> FileBatch:
    """Files that were added at once, as clients read it."""
    counts = counts_of(files)
    return FileBatch(
        id=batch,
        created_at=min(file.added_at_ms for file in files) // _MS,
        vector_store_id=store,
        status=_batch_status(counts),
        file_counts=counts,
    )


def counts_of(files: Iterable[StoreFile]) -> FileCounts:
    """How many files stand how."""
    all_of_them = [file.status for file in files]
    return FileCounts(
        in_progress=all_of_them.count("in_progress"),
        completed=all_of_them.count("completed"),
        failed=all_of_them.count("failed"),
        cancelled=all_of_them.count("cancelled"),
        total=len(all_of_them),
    )


def hit_object(found: FoundPassage) -> SearchHit:
    """A passage that was found, as clients read it."""
    return SearchHit(
        file_id=found.file,
        filename=found.filename,
        score=found.score,
        attributes=attributes_object(found),
        content=(ContentText(text=found.text),),
        vector_store_id=found.store,
        place=place_object(found.place),
    )


def _batch_status(counts: FileCounts) -> FileStatus:
    if counts.in_progress:
        return "in_progress"
    if counts.cancelled:
        return "cancelled"
    return "failed" if counts.failed == counts.total else "completed"


def _last_error(fault: StoreFileFailed) -> LastError:
    if fault.code == "unsupported_file":
        return LastError(code="unsupported_file", message=fault.message, reason=fault.code)
    code = "server_error" if fault.code in _OF_THE_MESH else "invalid_file"
    return LastError(code=code, message=fault.message, reason=fault.code)


def _chunking_object(chunking: Chunking | None) -> StaticChunking | OtherChunking:
    if chunking is None:
        return OtherChunking()
    sizes = StaticSizes(max_chunk_size_tokens=chunking.most_tokens, chunk_overlap_tokens=chunking.overlap_tokens)
    return StaticChunking(static=sizes)
