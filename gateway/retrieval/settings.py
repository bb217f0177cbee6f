"""Settings of the retrieval process."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from streams.stores.events import MOST_PASSAGE_TOKENS

_MIB = 1024 * 1024


class RetrievalSettings(Struct, frozen=True, kw_only=True):
    """How files are taken into vector stores, and how these are searched."""

    passage_tokens: Annotated[
        int,
        Meta(
            ge=16,
            le=MOST_PASSAGE_TOKENS,
            description="Most tokens of a passage where neither file nor store say: what small embedding models read.",
        ),
    ] = 200
    passage_overlap: Annotated[
        int,
        Meta(
            ge=0, le=MOST_PASSAGE_TOKENS // 2, description="Tokens of a passage that the next says again, by default."
        ),
    ] = 32
    document_limit: Annotated[
        int, Meta(ge=1, description="Largest file that is taken into a vector store.", extra={"unit": "bytes"})
    ] = 64 * _MIB
    document_chars: Annotated[
        int, Meta(ge=1, le=100_000_000, description="Most characters of text in one document.")
    ] = 10_000_000
    parse_time: Annotated[
        timedelta, Meta(description="CPU time that reading one document may take, in whole seconds.")
    ] = timedelta(minutes=1)
    parse_memory: Annotated[
        int, Meta(ge=64 * _MIB, description="Memory that reading one document may take.", extra={"unit": "bytes"})
    ] = 1024 * _MIB
    parsers_at_once: Annotated[
        int, Meta(ge=1, le=256, description="Processes that read documents at once, each with this time and memory.")
    ] = 2
    files_at_once: Annotated[
        int, Meta(ge=1, le=1000, description="Files that this process takes in at once; others wait in their stream.")
    ] = 16
    model_patience: Annotated[
        timedelta,
        Meta(description="How long a file waits for an embedding model that the mesh has never had, before it fails."),
    ] = timedelta(minutes=10)

    index: Annotated[
        Literal["qdrant", "faiss"],
        Meta(
            description="What finds passages: Qdrant's engine in this process or, with qdrant_url, a server; or Faiss, "
            "with all vectors in memory (needs the package faiss-cpu)."
        ),
    ] = "qdrant"
    index_dir: Annotated[
        Path | None,
        Meta(
            description="Folder of this process's index of passages; it is built anew where it is lost. A further "
            "process on the machine takes the next of that name. Left out: `index` in data_dir."
        ),
    ] = None
    qdrant_url: Annotated[
        str | None,
        Meta(
            description="A Qdrant server that all retrieval processes of this mesh, and no other mesh, keep passages "
            "on, instead of a folder each (needs the package qdrant-client).",
            examples=["http://HOST:6333"],
        ),
    ] = None
    qdrant_key: Annotated[str | None, Meta(description="The API key of the Qdrant server.", extra={"secret": True})] = (
        None
    )
    language: Annotated[
        str,
        Meta(
            description="Language of the documents, by whose endings words are taken for the same: english, german, "
            "french and others, or none. After a change the index must be built anew."
        ),
    ] = "english"

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises:
            ValueError: naming the setting.
        """
        if self.passage_overlap > self.passage_tokens // 2:
            raise ValueError("passage_overlap may be half of passage_tokens at most")
        if self.parse_time < timedelta(seconds=1):
            raise ValueError("parse_time must be at least a second")
        if self.index == "faiss" and self.qdrant_url is not None:
            raise ValueError("index = faiss and qdrant_url are two indexes: leave one of them out")
