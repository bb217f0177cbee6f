"""The paths of vector stores, with the types of their requests and answers."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from gateway.http.openapi.operation import Operation, Parameter
from gateway.http.vector_stores.objects import (
    FileBatch,
    FileContent,
    ListOf,
    SearchPage,
    StoreFileGone,
    StoreGone,
    VectorStore,
    VectorStoreFile,
)
from gateway.http.vector_stores.request import (
    MOST_PAGE,
    FileBatchRequest,
    SearchRequest,
    StoreFileChange,
    StoreFileRequest,
    VectorStoreChange,
    VectorStoreRequest,
)
from gateway.http.vector_stores.routes import (
    BATCH_PATH,
    BATCHES_PATH,
    FILE_PATH,
    FILES_PATH,
    STORE_PATH,
    STORES_PATH,
)
from streams.stores.fold import FileStatus

_STORE: Final = Parameter("store", str, "path", "The id of a vector store.")
_FILE: Final = Parameter("file", str, "path", "The id of a file.")
_BATCH: Final = Parameter("batch", str, "path", "The id of files that were added at once.")
_PAGE: Final = (
    Parameter("limit", Annotated[int, Meta(ge=1, le=MOST_PAGE)], "query", "How many of them."),
    Parameter("order", Literal["asc", "desc"], "query", "By age."),
    Parameter("after", str, "query", "The one behind which to begin."),
    Parameter("before", str, "query", "The one before which to end."),
)
_FILTER: Final = Parameter("filter", FileStatus, "query", "Only files that stand so.")

STORE_OPERATIONS: Final = (
    Operation(
        "post",
        STORES_PATH,
        "Make a vector store, and take its first files in.",
        request=VectorStoreRequest,
        answer=VectorStore,
    ),
    Operation("get", STORES_PATH, "The account's vector stores.", answer=ListOf[VectorStore], parameters=_PAGE),
    Operation("get", STORE_PATH, "How a vector store stands.", answer=VectorStore, parameters=(_STORE,)),
    Operation(
        "post",
        STORE_PATH,
        "Call a vector store otherwise.",
        request=VectorStoreChange,
        answer=VectorStore,
        parameters=(_STORE,),
    ),
    Operation("delete", STORE_PATH, "Delete a vector store; its files stay.", answer=StoreGone, parameters=(_STORE,)),
    Operation(
        "post",
        f"{STORE_PATH}/search",
        "Find passages.",
        request=SearchRequest,
        answer=SearchPage,
        parameters=(_STORE,),
    ),
    Operation(
        "post",
        FILES_PATH,
        "Take a file into a vector store.",
        request=StoreFileRequest,
        answer=VectorStoreFile,
        parameters=(_STORE,),
    ),
    Operation(
        "get",
        FILES_PATH,
        "The files of a vector store.",
        answer=ListOf[VectorStoreFile],
        parameters=(_STORE, *_PAGE, _FILTER),
    ),
    Operation(
        "get", FILE_PATH, "How a file of a vector store stands.", answer=VectorStoreFile, parameters=(_STORE, _FILE)
    ),
    Operation(
        "post",
        FILE_PATH,
        "Note other attributes on a file.",
        request=StoreFileChange,
        answer=VectorStoreFile,
        parameters=(_STORE, _FILE),
    ),
    Operation(
        "delete",
        FILE_PATH,
        "Remove a file from a vector store; the file stays.",
        answer=StoreFileGone,
        parameters=(_STORE, _FILE),
    ),
    Operation(
        "get",
        f"{FILE_PATH}/content",
        "The passages of a file, as they are searched.",
        answer=FileContent,
        parameters=(_STORE, _FILE),
    ),
    Operation(
        "post",
        BATCHES_PATH,
        "Take several files into a vector store.",
        request=FileBatchRequest,
        answer=FileBatch,
        parameters=(_STORE,),
    ),
    Operation(
        "get",
        BATCH_PATH,
        "How several files stand that were added at once.",
        answer=FileBatch,
        parameters=(_STORE, _BATCH),
    ),
    Operation(
        "get",
        f"{BATCH_PATH}/files",
        "The files that were added at once.",
        answer=ListOf[VectorStoreFile],
        parameters=(_STORE, _BATCH, *_PAGE, _FILTER),
    ),
    Operation(
        "post",
        f"{BATCH_PATH}/cancel",
        "Want no more of what has not been taken in yet.",
        answer=FileBatch,
        parameters=(_STORE, _BATCH),
    ),
)
