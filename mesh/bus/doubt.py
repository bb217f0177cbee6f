"""Whether the server that a connection is at still reaches the streams, or another one should be tried.

A server that is cut off from its cluster, or hangs, keeps its connections: a client that stays waits for ever, or for
the 11 s until such a server gives itself up. Two signs count, and only about streams, since a service that does not
answer is no fault of the server: an append or a JetStream request without an answer, and "nobody listens" for a stream.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

OVERDUE: Final = timedelta(seconds=2)
"""After so long without an answer a request counts as timed out here, whatever its caller still hopes."""

_PATIENCE_TICKS: Final = 8
"""As long again, in ticks of 0.25 s: a process that was stalled itself counts none, and so blames nobody."""
_MOST_PATIENCE_TICKS: Final = 48
"""An election takes 4 to 9 s anywhere, so each server gets longer than the one before."""


class Doubt:
    """Signs against one server, until a stream answers. While ``is_there`` is False the hot path has nothing to do."""

    __slots__ = ("_is_counting", "_patience_ticks", "_ticks", "is_there")

    def __init__(self) -> None:
        """Begin without doubt."""
        self.dispel()

    def dispel(self) -> None:
        """A stream has answered: begin anew."""
        self.is_there = False
        self._is_counting = False
        self._ticks = 0
        self._patience_ticks = _PATIENCE_TICKS

    def sign(self) -> None:
        """A stream's answer is overdue, or nobody listens for the stream."""
        self.is_there = self._is_counting = True

    def tick(self) -> bool:
        """Let a quarter of a second pass; returns whether it is time to leave the server."""
        if self._is_counting:
            self._ticks += 1
        return self._ticks >= self._patience_ticks

    def moved(self) -> None:
        """Give another server a chance, and more time than this one had."""
        self._is_counting = False
        self._ticks = 0
        self._patience_ticks = min(2 * self._patience_ticks, _MOST_PATIENCE_TICKS)
