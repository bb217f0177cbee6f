"""The vectors of what is looked for: tasks of the account that asks, remembered for a while."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.retrieval.vectors import NoVectors
from streams.clock import now_ms
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id

if TYPE_CHECKING:
    from gateway.retrieval.vectors import VectorMaker
    from streams.tokens import Token

_KEPT: Final = 4096
_KEPT_FOR_S: Final = 600.0
_PATIENCE: Final = timedelta(seconds=15)
_TOO_LONG: Final = "context_length_exceeded"
_CUTS: Final = 5
"""How often half of a text is left out that is too long for the model."""


class QueryVectors:
    """Vectors of queries; the same query of an account within some minutes asks nobody."""

    def __init__(self, maker: VectorMaker) -> None:
        """Have ``maker`` ask."""
        self._maker = maker
        self._kept: dict[bytes, tuple[float, bytes]] = {}

    async def get(self, account: Token, model: str, text: str, *, key_id: str | None = None) -> bytes:
        """Return the vector of a text by a model; of one that is too long for it, of how it begins.

        A task that is needed for it is counted for the API key ``key_id``.

        Raises:
            NoVectors: if the mesh has none to give.
            BusError: if the streams cannot be read or written.
        """
        key, now_s = _digest(account, model, text), asyncio.get_running_loop().time()
        known = self._kept.pop(key, None)
        if known is not None and now_s < known[0]:
            self._kept[key] = known
            return known[1]
        vector = await self._make(account, model, text, key_id)
        self._kept[key] = now_s + _KEPT_FOR_S, vector
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return vector

    async def _make(self, account: Token, model: str, text: str, key_id: str | None) -> bytes:
        for cut in range(_CUTS + 1):
            deadline_at_ms = now_ms() + int(_PATIENCE.total_seconds() * 1000)
            key, part = TaskKey(account, new_task_id()), text[: max(1, len(text) >> cut)]
            try:
                vectors = await self._maker.make(
                    key, model, (part,), "interactive", deadline_at_ms=deadline_at_ms, key_id=key_id
                )
            except NoVectors as error:
                if error.code != _TOO_LONG or cut == _CUTS:
                    raise
            else:
                return vectors[0]
        raise AssertionError("the last cut returns or raises")


def _digest(account: Token, model: str, text: str) -> bytes:
    return hashlib.sha256("\0".join((account, model, text)).encode()).digest()
