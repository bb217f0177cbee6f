"""Answers in Redis, or what speaks its protocol: for meshes that have one anyway."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.cache.store import NOTHING_STORED, CacheAway, Stored
from gateway.redis_values import RedisValues

if TYPE_CHECKING:
    from gateway.cache.key import Slot
    from streams.tokens import Token

_MOST_CONNECTIONS: Final = 64
_LONGEST: Final = timedelta(seconds=5)


class RedisStore:
    """Keeps answers under ``ig3:cache:<owner>:<digest>``. One database is one mesh's; its size is Redis's own."""

    def __init__(self, url: str) -> None:
        """Prepare to ask the server at ``url``: ``redis://``, ``rediss://`` or ``unix://``.

        Raises:
            GatewayError: if the package ``redis`` is not installed, or the URL is none.
        """
        # Requests have less patience than that: it bounds what no client waits for.
        self._values = RedisValues(url, connections=_MOST_CONNECTIONS, patience=_LONGEST, away=CacheAway)

    async def read(self, slot: Slot, *, is_newest: bool = False) -> Stored:
        """Return what stands in a slot.

        Raises:
            CacheAway: if the server does not answer.
        """
        data = await self._values.read(_key(slot))
        return NOTHING_STORED if data is None else Stored(data)

    async def swap(self, slot: Slot, standing: Stored, data: bytes, *, kept: timedelta) -> Stored | None:
        """Put ``data`` in the place of ``standing``: the same bytes are the same state.

        Raises:
            CacheAway: if the server does not answer; whether it was stored is unknown.
        """
        is_done = await self._values.swap(_key(slot), standing.data, data, kept=kept)
        return Stored(data) if is_done else None

    async def forget(self, owner: Token) -> None:
        """Delete all that is an owner's.

        Raises:
            CacheAway: if the server does not answer.
        """
        await self._values.forget(f"ig3:cache:{owner}:")

    async def close(self) -> None:
        """Close all connections."""
        await self._values.close()


def _key(slot: Slot) -> str:
    return f"ig3:cache:{slot.owner}:{slot.digest}"
