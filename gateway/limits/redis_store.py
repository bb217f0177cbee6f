"""Limits in Redis, or what speaks its protocol: for meshes that have one anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.limits.store import MOST_AT_ONCE, NOTHING_STORED, PATIENCE, StoreAway, Stored
from gateway.redis_values import RedisValues
from streams.topology import LIMITS_KEPT

if TYPE_CHECKING:
    from gateway.limits.store import Owner


class RedisStore:
    """Keeps limits under ``ig3:limits:<scope>:<name>``. One database is one mesh's."""

    def __init__(self, url: str) -> None:
        """Prepare to ask the server at ``url``: ``redis://``, ``rediss://`` or ``unix://``.

        Raises:
            GatewayError: if the package ``redis`` is not installed, or the URL is none.
        """
        self._values = RedisValues(url, connections=MOST_AT_ONCE, patience=PATIENCE, away=StoreAway)

    async def read(self, owner: Owner) -> Stored:
        """Return what stands there.

        Raises:
            StoreAway: if the server does not answer.
        """
        data = await self._values.read(_key(owner))
        return NOTHING_STORED if data is None else Stored(data)

    async def swap(self, owner: Owner, standing: Stored, data: bytes) -> Stored | None:
        """Put ``data`` in the place of ``standing``: the same bytes are the same state.

        Raises:
            StoreAway: if the server does not answer; whether it was stored is unknown.
        """
        is_done = await self._values.swap(_key(owner), standing.data, data, kept=LIMITS_KEPT)
        return Stored(data) if is_done else None

    async def close(self) -> None:
        """Close all connections."""
        await self._values.close()


def _key(owner: Owner) -> str:
    return f"ig3:limits:{owner.scope}:{owner.name}"
