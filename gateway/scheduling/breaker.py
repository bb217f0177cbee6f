"""A circuit breaker: a node that fails time after time is given nothing for a while, then one task, to see."""

from __future__ import annotations

from typing import Final

OPENS_AFTER: Final = 5
"""Failures in a row. As many as a task may have attempts: one that fails everywhere shuts out nobody by itself."""

FIRST_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 60.0


class Breaker:
    """One node's. Closed: all goes. Open until ``_until_s``: nothing goes. Then half open: one at a time goes."""

    __slots__ = ("_failures", "_is_on_trial", "_pause_s", "_until_s", "is_tripped")

    is_tripped: bool
    """Whether it has failed so often that it must show first that it can do better."""

    def __init__(self) -> None:
        """Begin closed."""
        self.close()

    def close(self) -> None:
        """Forget all failures: it has answered well, or was started again."""
        self._failures = 0
        self.is_tripped = False
        self._pause_s = FIRST_PAUSE_S
        self._until_s = 0.0
        self._is_on_trial = False

    def failed(self, now_s: float) -> None:
        """Count a failure; the pause doubles with each trial that fails."""
        self._failures += 1
        if self._failures < OPENS_AFTER:
            return
        self.is_tripped = True
        if self._is_on_trial:
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        self._until_s = now_s + self._pause_s
        self._is_on_trial = False

    def taken(self) -> None:
        """A task goes there: where it is half open, that is the trial."""
        self._is_on_trial = self.is_tripped

    def released(self) -> None:
        """The task came to no verdict on the node: another one may be the trial."""
        self._is_on_trial = False

    def lets_through(self, now_s: float) -> bool:
        """Whether a task may go there now."""
        return not self.is_tripped or (now_s >= self._until_s and not self._is_on_trial)
