"""Where gateways keep what is taken of limits, so that they hold across all of them.

A store can do two things: read what stands under a name, and put something else there if it still does. All that
decides is a pure function that ``change`` applies again until nobody came between. A store that is away is no
reason to turn people away, nor to let them do as they like: each gateway then goes on alone, with the same limits
(``gateway.limits.meter``).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.subjects import LimitScope
    from streams.tokens import Token

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_AT_ONCE: Final = 64
"""Changes under way at one gateway."""
PATIENCE: Final = timedelta(seconds=1)
"""How long a store may take to answer before a gateway goes on alone."""
LEFT_ALONE: Final = timedelta(seconds=2)
"""How long a store that did not answer is not asked again."""

_TRIES: Final = 1000
"""Each of them fails because another gateway has taken something: there is an end of that, since limits have one."""
_TRIES_AT_ONCE: Final = 8
_PAUSE_S: Final = 0.002


class StoreAway(GatewayError):
    """The store of limits cannot be asked now."""


class Owner(NamedTuple):
    """Whose limits."""

    scope: LimitScope
    name: Token


class Stored(NamedTuple):
    """What stands under a name, with the mark by which the store knows it again."""

    data: bytes = b""
    mark: int = 0


NOTHING_STORED: Final = Stored()


class LimitStore(Protocol):
    """What all stores can do. Names that are not written to are forgotten after ``streams.topology.LIMITS_KEPT``."""

    async def read(self, owner: Owner) -> Stored:
        """Return what stands there; ``NOTHING_STORED`` if nothing does.

        Raises:
            StoreAway: if it cannot be asked now.
        """
        ...

    async def swap(self, owner: Owner, standing: Stored, data: bytes) -> Stored | None:
        """Put ``data`` in the place of what stands there, and return it; None if something else stands there.

        Raises:
            StoreAway: if it cannot be asked now; whether it was stored is unknown.
        """
        ...

    async def close(self) -> None:
        """Let go of what the store holds open."""
        ...


class SharedLimits:
    """A store with patience: it is asked until it has answered, and left alone for a while when it does not."""

    def __init__(self, store: LimitStore) -> None:
        """Ask ``store``, which is closed by its owner."""
        self._store = store
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._away_until_s = float("-inf")
        self._is_away = False

    @property
    def is_away(self) -> bool:
        """Whether the store did not answer when it was last asked."""
        return self._is_away

    async def change(self, owner: Owner, guess: Stored, step: Callable[[bytes], tuple[bytes, T]]) -> tuple[Stored, T]:
        """Apply ``step`` to what stands there; ``guess`` is what probably does, which saves reading.

        Raises:
            StoreAway: if the store cannot be asked now.
        """
        if time.monotonic() < self._away_until_s:
            raise StoreAway("the store of limits did not answer a moment ago")
        try:
            # A crowd waits here, so that a store which serves it one after the other is not taken for one that is away.
            async with self._room:
                changed = await self._change(owner, guess, step)
        except TimeoutError:
            raise self._left(f"no answer within {PATIENCE.total_seconds():g} s") from None
        except StoreAway as error:
            raise self._left(str(error)) from error
        if self._is_away:
            self._is_away = False
            log.warning("the store of limits is back: limits hold across gateways again")
        return changed

    async def _change(self, owner: Owner, guess: Stored, step: Callable[[bytes], tuple[bytes, T]]) -> tuple[Stored, T]:
        standing = guess
        for tried in range(_TRIES):
            data, result = step(standing.data)
            async with asyncio.timeout(PATIENCE.total_seconds()):
                stored = await self._store.swap(owner, standing, data)
            if stored is not None:
                return stored, result
            if tried > _TRIES_AT_ONCE:
                await asyncio.sleep(random.uniform(0, _PAUSE_S))  # noqa: S311 - spreads load, guards nothing
            async with asyncio.timeout(PATIENCE.total_seconds()):
                standing = await self._store.read(owner)
        raise StoreAway(f"too many write to {owner.scope} {owner.name} at once")

    def _left(self, reason: str) -> StoreAway:
        self._away_until_s = time.monotonic() + LEFT_ALONE.total_seconds()
        if not self._is_away:
            self._is_away = True
            log.warning("the store of limits is away (%s): each gateway counts for itself until it is back", reason)
        return StoreAway(reason)
