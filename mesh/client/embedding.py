"""Vectors of texts: what ``Client.embed`` takes and gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from msgspec import Struct

from streams.tasks.chat import Usage
from streams.tasks.vectors import numbers_of

if TYPE_CHECKING:
    from datetime import timedelta

    from mesh.client.answer import AnswerResult
    from streams.subjects import ServiceClass
    from streams.tasks.placing import Rules

SMALL_EMBEDDING_MODEL: Final = "all-minilm-l6-v2"
"""What `ig3 up` brings for vectors."""


class EmbedOptions(TypedDict, total=False):
    """What ``embed`` takes by name beside the model, all optional."""

    dimensions: int | None
    """Numbers in each vector, where fewer are wanted than the model gives; not every model can."""
    urgency: ServiceClass
    """As for ``submit``."""
    deadline: timedelta | None
    rules: Rules
    task: str | None
    """An id of your own (UUIDv7): a repeat with the same id gets the first one's vectors."""


class Embeddings(Struct, frozen=True, kw_only=True):
    """The vectors of some texts, in their order. Each has the length 1, so their product is their likeness."""

    task: str
    vectors: tuple[tuple[float, ...], ...]
    usage: Usage | None = None
    """Tokens of all texts."""
    node: str | None = None
    """The node that wrote last."""


def embeddings_of(result: AnswerResult) -> Embeddings:
    """Read what a task came to."""
    vectors = tuple([numbers_of(vector) for vector in result.vectors])
    return Embeddings(task=result.task, vectors=vectors, usage=result.usage, node=result.node)
