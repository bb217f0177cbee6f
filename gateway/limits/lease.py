"""What one gateway has taken of a limit ahead of its use, so that not every request asks the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.limits.bucket import FULL, MINUTE_MS, Draw, remaining, reset_ms, settled, wait_ms

if TYPE_CHECKING:
    from streams.access.limits import RateState

LEASE_MS: Final = 1000
"""For how long a gateway takes ahead at most; what is left by then goes back."""


def lease_of(limit: int) -> int:
    """How many pieces a gateway takes ahead: what the limit gives in a second, and at least one.

    In any span of T seconds all G gateways together let pass at most ``limit * (1 + T / 60) + G * lease_of(limit)``:
    what the store has handed out in that time, and what each had in hand at its beginning.
    """
    return max(1, limit * LEASE_MS // MINUTE_MS)


class Lease:
    """A part of one limit per minute that is in the hands of one gateway."""

    __slots__ = ("_asked", "_owed", "_seen", "_taken_at_ms", "left", "limit", "size")

    def __init__(self, limit: int) -> None:
        """Begin with nothing in hand, of a bucket that is full as far as is known."""
        self.limit = limit
        self.size = lease_of(limit)
        self.left = 0
        self._owed = 0
        """To be charged when the store is asked next; negative: to be given back."""
        self._asked = 0
        """As much of it as the store is being asked about."""
        self._seen = FULL
        self._taken_at_ms = 0

    def settle(self, by: int) -> None:
        """Charge what was used beyond what was taken; a negative number is given back."""
        self._owed += by

    def draw(self, least: int) -> Draw:
        """What to ask the store for, so that ``least`` are in hand; 0: only settle. ``drawn`` says what came of it."""
        self._asked, self._owed = self._owed, 0
        missing = max(0, least - self.left)
        return Draw(least=missing, most=max(missing, self.size - self.left) if missing else 0, settle=self._asked)

    def drawn(self, taken: int, seen: RateState, now_ms: int) -> None:
        """Take what was given; ``seen`` is what stands in the store now."""
        self._asked = 0
        self.left += taken
        self._seen = seen
        self._taken_at_ms = now_ms

    def lay_down(self, now_ms: int, *, after_ms: int = LEASE_MS) -> bool:
        """Give back what was in hand for that long; returns whether it is time to tell the store anything."""
        if now_ms - self._taken_at_ms < after_ms:
            return False
        self._owed -= self.left
        self.left = 0
        return self._owed != 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in hand, and nothing to be settled."""
        return self.left == 0 and self._owed == 0

    def remaining(self, now_ms: int) -> int:
        """How many can be used now, as far as this gateway knows."""
        return min(self.limit, remaining(self.limit, self._known, now_ms) + self.left)

    def reset_ms(self, now_ms: int) -> int:
        """In how long all can be used again, as far as this gateway knows."""
        return reset_ms(self.limit, settled(self._known, -self.left), now_ms)

    def wait_ms(self, now_ms: int, cost: int) -> int | None:
        """In how long ``cost`` can be used; None: never."""
        return wait_ms(self.limit, settled(self._known, -self.left), now_ms, cost)

    @property
    def _known(self) -> RateState:
        return settled(self._seen, self._owed + self._asked)
