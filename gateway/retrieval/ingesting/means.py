"""What taking files in needs, and why it may not come about now."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from datetime import timedelta

    from gateway.retrieval.passage_log import PassageLog
    from gateway.retrieval.settings import RetrievalSettings
    from gateway.retrieval.store_log import StoreLog
    from gateway.retrieval.vectors import VectorMaker
    from mesh.files.store import FileStore


class Means(NamedTuple):
    """What taking in needs. Tasks are kept for ``retention``."""

    stores: StoreLog
    passages: PassageLog
    files: FileStore
    vectors: VectorMaker
    settings: RetrievalSettings
    retention: timedelta


class NotNow(GatewayError):
    """The file cannot be taken in at the moment: somebody tries again later, and loses nothing."""


class Unwanted(GatewayError):
    """Nobody wants this generation of the file any more."""


class TooLong(GatewayError):
    """The model cannot read passages of this length."""
