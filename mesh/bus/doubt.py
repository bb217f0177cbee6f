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

_ENOUGH: Final = 40
_OVERDUE_WEIGHT: Final = 5
"""Two seconds past the first two, in ticks of 0.25 s: a process that was stalled itself had none and blames nobody."""
_GIVEN_UP_WEIGHT: Final = 20
"""Two time-outs of callers that wait for a shorter time than that."""
_REFUSED_WEIGHT: Final = 2
"""Five seconds: most often nobody listens because the stream elects a leader, which takes 4 to 9 s anywhere."""


class Doubt:
    """Weighs the signs against one server, until something is stored. ``is_there`` is False while there are none."""

    __slots__ = ("_refused", "_weight", "is_there")

    def __init__(self) -> None:
        """Begin without doubt."""
        self.dispel()

    def dispel(self) -> None:
        """The server has proved itself, or another one has its place."""
        self.is_there = False
        self._refused = False
        self._weight = 0

    def refused(self) -> None:
        """Nobody listens for a stream, or its leader refuses: one that is cut off does so too."""
        self.is_there = self._refused = True

    def tick(self, *, is_overdue: bool, given_up: int) -> bool:
        """Let a quarter of a second pass; returns whether it is time to leave the server.

        Args:
            is_overdue: whether an answer is awaited for longer than ``OVERDUE``.
            given_up: how many were given up since the last tick.
        """
        self._weight += _OVERDUE_WEIGHT * is_overdue + _GIVEN_UP_WEIGHT * min(given_up, 1)
        self._weight += _REFUSED_WEIGHT * self._refused
        self._refused = False
        self.is_there = self._weight > 0
        return self._weight >= _ENOUGH
