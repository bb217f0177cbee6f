"""``POST /v1/embeddings`` of one model of one server: how it wants to be asked is found out by asking it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from nodes.engines.embedding.answer import Answer, answered
from nodes.engines.embedding.vectors import NUMBER_BYTES, likeness
from nodes.engines.remote.http_server import whole_body
from nodes.errors import EngineError, EngineUnavailable, RequestRefused

if TYPE_CHECKING:
    from nodes.engines.embedding.batches import Answered
    from nodes.engines.remote.http_server import HttpServer

EXAMPLES: Final = ("The sea is wide.", "Bread is made of flour and water.", "The sea is wide.")
"""Two that are alike and one that is not: a server that mixes texts up, or makes all of them the same, shows."""

SAME: Final = 0.999
"""How alike vectors of one text are at least: servers round."""


class _Body(Struct, frozen=True, kw_only=True):
    model: str
    input: tuple[str, ...]
    encoding_format: str | UnsetType = UNSET


class EmbeddingEndpoint:
    """Asks; ``probe`` goes before everything else."""

    def __init__(self, server: HttpServer, model: str) -> None:
        self._server = server
        self._model = model
        self._format: str | UnsetType = UNSET
        self.dimensions: int | None = None
        """Numbers in a vector, once that is known."""

    async def probe(self) -> None:
        """Find out how to ask, and how many numbers a vector has.

        Raises:
            EngineUnavailable: it makes no vectors, or none that mean anything.
            EngineError: it cannot be asked.
        """
        vectors = (await self._first()).vectors
        check_meaning(vectors)
        self.dimensions = len(vectors[0]) // NUMBER_BYTES

    async def ask(self, texts: tuple[str, ...]) -> Answered:
        """Ask for a vector of each text.

        Raises:
            EngineError: they did not come, or are no vectors of this model.
        """
        body = msgspec.json.encode(_Body(model=self._model, input=texts, encoding_format=self._format))
        async with self._server.post(f"{self._server.api}/embeddings", body) as response:
            said = await whole_body(response)
        try:
            answer = answered(msgspec.json.decode(said, type=Answer), texts)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise EngineError(f"the server sent what cannot be read: {error}") from error
        size = len(answer.vectors[0]) // NUMBER_BYTES
        if self.dimensions not in (None, size):
            raise EngineError(f"the server's vectors had {self.dimensions} numbers before, and now have {size}")
        return answer

    async def _first(self) -> Answered:
        """Ask for base64, which is a third as long; and without a word of it where that is refused."""
        refusal: RequestRefused | None = None
        for self._format in ("base64", UNSET):
            try:
                return await self.ask(EXAMPLES)
            except RequestRefused as error:
                refusal = refusal or error
        raise EngineUnavailable(f"the server makes no vectors of texts by {self._model!r}: {refusal}")


def check_meaning(vectors: tuple[bytes, ...]) -> None:
    """Look at the vectors of `EXAMPLES`.

    Raises:
        EngineUnavailable: equal texts have unlike vectors, or other texts equal ones.
    """
    one, other, again = vectors
    if likeness(one, again) < SAME or likeness(one, other) > SAME:
        raise EngineUnavailable("its vectors mean nothing: those of equal texts differ, or those of others are equal")
