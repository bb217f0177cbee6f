"""What the model store says of a model, and how a device asks for it."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from streams.tasks.chat import Count
from streams.wire import Wire

CHUNK_BYTES: Final = 256 * 1024
"""Of every chunk but the last: with its envelope well below the broker's largest message, 1 MB."""

MODEL_NOT_STORED: Final = "model_not_stored"
"""The code of a refusal: the store has no such model."""
MODEL_CHANGED: Final = "model_changed"
"""The code of a refusal: the store has another file under this name by now."""
TOO_MANY_REQUESTS: Final = "too_many_requests"
"""The code of a refusal: this device has as many chunks under way as it may have."""

ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64)]


class StoredModel(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model file in the store. All but size and hash is what the file says of itself."""

    name: ModelName
    sha256: Sha256
    """Of the whole file, in hex."""
    size_bytes: Annotated[int, Meta(ge=1)]
    chunk_bytes: Annotated[int, Meta(ge=1, le=1_000_000)] = CHUNK_BYTES
    pushed_at_ms: Count = 0
    architecture: str = ""
    quantisation: str | None = None
    licence: str | None = None
    context_tokens: int | None = None
    parameters: int | None = None
    cache_bytes_per_token: int | None = None
    """What attention keeps of one token: with the size, what a node needs to hold it."""

    @property
    def chunks(self) -> int:
        """How many chunks the file has."""
        return -(-self.size_bytes // self.chunk_bytes)


class ModelQuestion(Wire, frozen=True, kw_only=True, tag="node.model.v1"):
    """What does the store have under this name?"""

    name: ModelName


class ModelOffer(Wire, frozen=True, kw_only=True, tag="node.model_offer.v1"):
    """The answer: the file that chunks can be asked of."""

    model: StoredModel


class ChunkRequest(Wire, frozen=True, kw_only=True, tag="node.chunk.v1"):
    """Give me one chunk, counted from 0, of the file that has this hash."""

    name: ModelName
    sha256: Sha256
    number: Count


class ModelChunk(Wire, frozen=True, kw_only=True, tag="node.model_chunk.v1"):
    """The answer: the bytes. Whoever puts them together has to check the hash of the whole."""

    data: bytes
