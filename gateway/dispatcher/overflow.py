"""Tasks of accounts that have their fill: they wait in the queue, handed back for a while, and are counted meanwhile.

What was stored is kept. So a task beyond what a dispatcher holds of its account does not fail: it comes again later, to
whichever dispatcher has room for it then. Only a flood that would block the queue for everybody is refused.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from streams.subjects import ServiceClass
from streams.tokens import Token
from streams.topology import MAX_ACK_PENDING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_OF_A_CLASS: Final = MAX_ACK_PENDING * 2 // 5
"""How many may be handed back in one class, over all accounts: the broker hands out nothing more to anybody when
``MAX_ACK_PENDING`` are out, and those that wait to come again count."""

_SHORTEST_S: Final = 1.0
_LONGEST_S: Final = 20.0
_COME_AGAIN_PER_S: Final = 200.0


class Waiting(NamedTuple):
    """Whose task waits, for what."""

    account: Token
    service_class: ServiceClass
    model: str
    region: str | None = None
    """The one that it must not leave."""


class Overflow:
    """Counts what one dispatcher has handed back and what has not come again by now."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Refuse what is more than ``most`` of one account and class; ``clock`` tells seconds."""
        self._most = most
        self._clock = clock
        self._due: list[tuple[float, Waiting]] = []
        self._of_account = Counter[tuple[Token, ServiceClass]]()
        self._of_class = Counter[ServiceClass]()

    def has_room(self, account: Token, service_class: ServiceClass) -> bool:
        """Whether one more may wait."""
        self._forget_due()
        return self._of_account[account, service_class] < self._most and self._of_class[service_class] < MOST_OF_A_CLASS

    def add(self, waiting: Waiting, *, longest: timedelta | None = None) -> timedelta:
        """Count a task that is handed back; returns after how long it shall come again.

        The more wait, the longer, so that those that come again in vain keep nobody busy. ``longest`` is what is left
        to the task's deadline.
        """
        account, service_class = waiting.account, waiting.service_class
        others = self._of_account[account, service_class]
        pause_s = min(_SHORTEST_S + others / _COME_AGAIN_PER_S, _LONGEST_S)
        if longest is not None:
            pause_s = min(pause_s, longest.total_seconds())
        heapq.heappush(self._due, (self._clock() + pause_s, waiting))
        self._of_account[account, service_class] += 1
        self._of_class[service_class] += 1
        return timedelta(seconds=pause_s)

    def waiting(self) -> list[Waiting]:
        """All that wait now."""
        self._forget_due()
        return [waiting for _, waiting in self._due]

    def _forget_due(self) -> None:
        now_s = self._clock()
        while self._due and self._due[0][0] <= now_s:
            _, (account, service_class, *_) = heapq.heappop(self._due)
            self._of_class[service_class] -= 1
            self._of_account[account, service_class] -= 1
            if not self._of_account[account, service_class]:
                del self._of_account[account, service_class]
