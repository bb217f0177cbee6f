"""How many connections one address may have open, and how many new ones it may make: floods end at the door.

Whoever is turned away is cut off before a byte of theirs is read. Proxies that are trusted, and this machine itself,
speak for many, and are not counted.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

from gateway.client_address import is_trusted
from gateway.limits.bucket import FULL, Draw, draw, reset_ms
from mesh.identity.slowdown import origin_of
from streams.clock import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.client_address import Network
    from streams.access.limits import RateState

log = logging.getLogger(__name__)

NEW_PER_MINUTE: Final = 4
"""How many new connections a minute go with one that may be open."""

_MOST: Final = 10_000
_TOLD_EVERY_MS: Final = 60_000
_ONE: Final = Draw(least=1, most=1)


class Arrivals:
    """Counts the connections of one gateway."""

    def __init__(self, most: int | None, trusted: Sequence[Network] = (), *, clock: Callable[[], int] = now_ms) -> None:
        """Let each address have ``most`` open (None: any number), but for ``trusted``; ``clock`` says Unix ms."""
        self._most = most
        self._trusted = trusted
        self._clock = clock
        self._open = Counter[str]()
        self._new: dict[str, RateState] = {}
        self._told_at_ms = 0

    def admit(self, peer: str) -> bool:
        """Count a connection; False: it is one too many, and is not counted. ``leave`` takes back what was admitted."""
        if not self._counts(peer) or self._most is None:
            return True
        origin, now = origin_of(peer), self._clock()
        drawn = draw(self._most * NEW_PER_MINUTE, self._new.get(origin, FULL), now, _ONE)
        if not drawn.allowed or self._open[origin] >= self._most:
            self._tell(origin, now)
            return False
        if len(self._new) >= _MOST and origin not in self._new:
            self._forget(now)
        self._new[origin] = drawn.state
        self._open[origin] += 1
        return True

    def leave(self, peer: str) -> None:
        """A connection that was admitted is over."""
        origin = origin_of(peer)
        if self._open[origin] > 1:
            self._open[origin] -= 1
        else:
            del self._open[origin]

    def _counts(self, peer: str) -> bool:
        try:
            is_own = ipaddress.ip_address(peer).is_loopback
        except ValueError:
            return False
        return not is_own and not is_trusted(peer, self._trusted)

    def _forget(self, now: int) -> None:
        limit = (self._most or 1) * NEW_PER_MINUTE
        self._new = {origin: state for origin, state in self._new.items() if reset_ms(limit, state, now)}
        while len(self._new) >= _MOST:
            del self._new[next(iter(self._new))]

    def _tell(self, origin: str, now: int) -> None:
        if now - self._told_at_ms >= _TOLD_EVERY_MS:
            self._told_at_ms = now
            log.warning("%s makes more connections than one address may: they are cut off (told once a minute)", origin)
