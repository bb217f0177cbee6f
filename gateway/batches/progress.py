"""How far batches are that run: counted from what they have written, and remembered for a moment.

Counting lists every part that a batch has written, a hundred thousand at most, so clients that ask again and again are
told what was counted a moment ago.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from gateway.batches.outputs import Counts, Outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.files.store import FileStore
    from streams.tokens import Token

FRESH_S: Final = 5.0
"""How old a count may be."""
_MOST: Final = 1000


class Progress:
    """Of one gateway's clients."""

    def __init__(self, store: FileStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Count in ``store``; ``clock`` says seconds."""
        self._store = store
        self._clock = clock
        self._counted: dict[tuple[Token, Token], tuple[float, Counts]] = {}

    async def of(self, account: Token, batch: Token) -> Counts:
        """Return how many requests of a batch that runs have a line.

        Raises:
            BusError: if that cannot be read.
        """
        known = self._counted.get((account, batch))
        if known is not None and self._clock() - known[0] < FRESH_S:
            return known[1]
        at_s, outputs = self._clock(), Outputs(self._store, account, batch)
        await outputs.look()
        if len(self._counted) >= _MOST:
            self._counted.clear()
        self._counted[account, batch] = at_s, outputs.counts
        return outputs.counts
