"""Which index a retrieval process has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError
from gateway.retrieval.errors import FolderTaken
from gateway.retrieval.index.qdrant_folder import QdrantFolder
from gateway.retrieval.index.qdrant_server import QdrantServer
from gateway.retrieval.index.words import Words

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.retrieval.index.index import Index
    from gateway.retrieval.settings import RetrievalSettings

_FOLDER: Final = "index"
_MOST_COPIES: Final = 16
"""Retrieval processes on one machine that have a folder each."""


def open_index(settings: RetrievalSettings, data_dir: Path) -> Index:
    """Open the index that the settings name.

    Raises:
        GatewayError: if it cannot be used, or the package that it needs is not installed.
    """
    try:
        words = Words(settings.language)
    except ValueError as error:
        raise GatewayError(f"language {settings.language!r} cannot be used: {error}") from error
    if settings.qdrant_url is not None:
        return _server(settings.qdrant_url, settings.qdrant_key, words)
    folder = settings.index_dir or data_dir / _FOLDER
    for copy in range(1, _MOST_COPIES):
        try:
            return _folder(settings, folder if copy == 1 else folder.with_name(f"{folder.name}-{copy}"), words)
        except FolderTaken:
            continue
    raise GatewayError(f"{_MOST_COPIES} processes use {folder} and the folders beside it: stop some of them")


def _folder(settings: RetrievalSettings, folder: Path, words: Words) -> Index:
    if settings.index == "qdrant":
        return QdrantFolder(folder, words)
    try:
        from gateway.retrieval.index.faiss_folder import FaissFolder

        return FaissFolder(folder, words)
    except ImportError as error:
        remedy = "install it with pip install 'ig3-edge-network[rag]', or set index to qdrant"
        raise GatewayError(f"index is faiss, and the package faiss-cpu is not installed: {remedy}") from error


def _server(url: str, key: str | None, words: Words) -> Index:
    try:
        return QdrantServer.connect(url, key, words)
    except ImportError as error:
        remedy = "install it with pip install 'ig3-edge-network[rag]', or leave qdrant_url out"
        raise GatewayError(f"qdrant_url is set, and the package qdrant-client is not installed: {remedy}") from error
