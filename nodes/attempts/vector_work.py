"""One attempt at a task that asks for vectors: its texts through an engine, a few at a time, into an outbox."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from nodes.attempts.outbox import Batch, Outbox
from nodes.embedding import Embed
from nodes.errors import EngineError, RequestRefused
from streams.tasks.chat import Usage
from streams.tasks.vectors import FLOAT_BYTES, MOST_CHUNK_BYTES, Vectors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.embedding import EmbeddingEngine
    from streams.messages import Assign

TEXTS_AT_ONCE: Final = 16
"""What an engine is asked at once. Few: between two such requests other tasks have their turn, and a lost node loses
little."""

PENDING_VECTORS: Final = 256
"""How far the engine may run ahead of the stream before it has to wait."""


class _Group(NamedTuple):
    """What came of one request to the engine."""

    floats: bytes
    vectors: int
    tokens: int


class VectorOutbox(Outbox):
    """An outbox of vectors: what its base counts in characters is vectors here. One chunk takes whole groups."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__(PENDING_VECTORS)
        self._groups: list[_Group] = []
        self._usage: Usage | None = None

    def put_group(self, floats: bytes, count: int, tokens: int, *, usage: Usage | None = None) -> None:
        """Add vectors; those with a usage, that of the whole answer, are the last."""
        self._groups.append(_Group(floats, count, tokens))
        self._usage = usage
        self._arrived(count)

    def _drain(self) -> Batch:
        taken, size = 0, 0
        while taken < len(self._groups) and (not taken or size + len(self._groups[taken].floats) <= MOST_CHUNK_BYTES):
            size += len(self._groups[taken].floats)
            taken += 1
        groups, self._groups = self._groups[:taken], self._groups[taken:]
        self._chars = sum(group.vectors for group in self._groups)
        is_last = self._usage is not None and not self._groups
        return Batch(
            text="",
            tokens=sum(group.tokens for group in groups),
            finish_reason="stop" if is_last else None,
            usage=self._usage if is_last else None,
            vectors=Vectors(
                count=sum(group.vectors for group in groups), floats=b"".join(group.floats for group in groups)
            ),
        )


class VectorWork:
    """The texts of one assignment and the engine that embeds them."""

    def __init__(self, assign: Assign, engine: EmbeddingEngine, dimensions: int | None) -> None:
        """Prepare; the engine's vectors have ``dimensions`` numbers, as it has announced."""
        self.outbox = VectorOutbox()
        self._assign = assign
        self._engine = engine
        self._dimensions = dimensions

    async def run(self) -> AsyncGenerator[int, None]:
        """Embed all texts into the outbox; yields the tokens of each few of them.

        Raises:
            EngineError: the engine fails, or gives what it has not announced.
        """
        assign, total = self._assign, self._assign.prefix_tokens
        size = self._group_size()
        for at in range(0, len(assign.texts), size):
            texts = assign.texts[at : at + size]
            floats, tokens = await self._embed(texts, at + assign.first)
            total += tokens
            is_last = at + size >= len(assign.texts)
            usage = Usage(prompt_tokens=total, completion_tokens=0) if is_last else None
            self.outbox.put_group(floats, len(texts), tokens, usage=usage)
            yield tokens
            if not is_last and self.outbox.is_full:
                await self.outbox.room()

    def _group_size(self) -> int:
        """So few that their vectors fit into one chunk."""
        numbers = self._assign.dimensions or self._dimensions
        return TEXTS_AT_ONCE if numbers is None else min(TEXTS_AT_ONCE, MOST_CHUNK_BYTES // (FLOAT_BYTES * numbers))

    async def _embed(self, texts: tuple[str, ...], first: int) -> tuple[bytes, int]:
        try:
            embedded = await self._engine.embed(Embed(texts=texts, redaction=self._assign.redaction))
        except RequestRefused as error:
            if not first:
                raise
            # The engine counts its own texts only.
            raise RequestRefused(error.code, f"of the texts from number {first} on: {error}") from error
        vectors = embedded.vectors
        if len(vectors) != len(texts):
            raise EngineError(f"the engine gave {len(vectors)} vectors for {len(texts)} texts")
        lengths = {len(vector) for vector in vectors}
        if self._dimensions is not None and lengths != {FLOAT_BYTES * self._dimensions}:
            numbers = ", ".join(str(length / FLOAT_BYTES) for length in sorted(lengths))
            raise EngineError(f"the engine gave vectors of {numbers} numbers and has announced {self._dimensions}")
        wanted = self._assign.dimensions
        if wanted is not None:
            vectors = tuple([shortened(vector, wanted) for vector in vectors])
        return b"".join(vectors), embedded.usage.prompt_tokens


def shortened(vector: bytes, dimensions: int) -> bytes:
    """Cut a vector to its first numbers, and make its length 1 again.

    Raises:
        RequestRefused: it has fewer, or they are all nothing.
    """
    size = FLOAT_BYTES * dimensions
    if len(vector) == size:
        return vector
    numbers = struct.unpack(f"<{dimensions}f", vector[:size]) if len(vector) > size else ()
    length = math.hypot(*numbers)
    if not length:
        raise RequestRefused("invalid_input", f"this model's vectors cannot be cut to {dimensions} numbers")
    return struct.pack(f"<{dimensions}f", *(number / length for number in numbers))
