"""What can go wrong with retrieval."""

from __future__ import annotations

from gateway.errors import GatewayError


class IndexUnavailable(GatewayError):
    """The index of passages cannot be read or written now."""


class WrongVectors(GatewayError):
    """Vectors of another length than those of the same model; what makes them has been changed under its name."""


class TooManyStores(GatewayError):
    """The account has as many vector stores as it may have."""


class StoreOver(GatewayError):
    """The time of a vector store is over: it takes nothing any more."""


class FolderTaken(IndexUnavailable):
    """Another process on this machine uses the folder of the index."""
