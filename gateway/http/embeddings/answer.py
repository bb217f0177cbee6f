"""What comes back from ``POST /v1/embeddings``: OpenAI's list of vectors, as numbers or as base64."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Struct

from streams.tasks.chat import Usage
from streams.tasks.vectors import numbers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.http.embeddings.request import EncodingFormat
    from streams.tasks.task import TaskState


class EmbeddingObject(Struct, frozen=True, kw_only=True):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: tuple[float, ...] | str
    """Numbers, or their 32-bit floats, the least byte first, in base64."""


class EmbeddingUsage(Struct, frozen=True, kw_only=True):
    """OpenAI's ``usage``: nothing is written, so all tokens are the prompt's."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct, frozen=True, kw_only=True):
    """A whole answer, in the order of the texts."""

    object: Literal["list"] = "list"
    data: tuple[EmbeddingObject, ...]
    model: str
    usage: EmbeddingUsage


_encode: Final = msgspec.json.Encoder().encode


def embedding_list(model: str, vectors: Sequence[bytes], state: TaskState, encoding: EncodingFormat) -> bytes:
    """Write a completed task's vectors."""
    usage = state.usage or Usage(prompt_tokens=state.tokens, completion_tokens=0)
    answer = EmbeddingList(
        data=tuple(
            [EmbeddingObject(index=index, embedding=_written(vector, encoding)) for index, vector in enumerate(vectors)]
        ),
        model=model,
        usage=EmbeddingUsage(prompt_tokens=usage.prompt_tokens, total_tokens=usage.total_tokens),
    )
    return _encode(answer)


def _written(vector: bytes, encoding: EncodingFormat) -> tuple[float, ...] | str:
    return b64encode(vector).decode() if encoding == "base64" else numbers_of(vector)
