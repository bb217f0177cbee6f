"""What taking files in needs, and why it may not come about now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import GatewayError
from gateway.retrieval.passage_log import PassageLog
from gateway.retrieval.store_log import StoreLog
from gateway.retrieval.vectors import VectorMaker
from mesh.files.store import FileStore

if TYPE_CHECKING:
    from datetime import timedelta

    from gateway.retrieval.settings import RetrievalSettings
    from mesh.bus.service_bus import Bus


class Means(NamedTuple):
    """What taking in needs."""

    stores: StoreLog
    passages: PassageLog
    files: FileStore
    vectors: VectorMaker
    settings: RetrievalSettings
    retention: timedelta
    """How long tasks are kept."""
    parsing: asyncio.Semaphore
    """Room for processes that read documents."""


def open_means(bus: Bus, settings: RetrievalSettings, retention: timedelta) -> Means:
    """Take in over ``bus``, which is followed."""
    return Means(
        stores=StoreLog(bus.core),
        passages=PassageLog(bus.core),
        files=FileStore(bus.core),
        vectors=VectorMaker(bus),
        settings=settings,
        retention=retention,
        parsing=asyncio.Semaphore(settings.parsers_at_once),
    )


class NotNow(GatewayError):
    """The file cannot be taken in at the moment: somebody tries again later, and loses nothing."""


class Unwanted(GatewayError):
    """Nobody wants this generation of the file any more."""


class TooLong(GatewayError):
    """The model cannot read passages of this length."""
