"""Limits in Redis, or what speaks its protocol: for meshes that have one anyway."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import GatewayError
from gateway.limits.store import MOST_AT_ONCE, NOTHING_STORED, PATIENCE, StoreAway, Stored
from streams.topology import LIMITS_KEPT

if TYPE_CHECKING:
    from gateway.limits.store import Owner

_SWAP: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_KEPT_MS: Final = LIMITS_KEPT // timedelta(milliseconds=1)


class RedisStore:
    """Keeps limits under ``ig3:limits:<scope>:<name>``. One database is one mesh's."""

    def __init__(self, url: str) -> None:
        """Prepare to ask the server at ``url``: ``redis://``, ``rediss://`` or ``unix://``.

        Raises:
            GatewayError: if the package ``redis`` is not installed, or the URL is none. The URL, which may hold a
                password, is not in the text.
        """
        try:
            from redis.asyncio import Redis
            from redis.exceptions import RedisError
        except ImportError as error:
            remedy = "install it with pip install 'ig3-edge-network[cache]', or leave redis_url out"
            raise GatewayError(f"redis_url is set, and the package redis is not installed: {remedy}") from error
        patience_s = PATIENCE.total_seconds()
        try:
            # redis-py is typed in part only: what it returns is narrowed below.
            make: Any = Redis
            client = make.from_url(
                url,
                max_connections=MOST_AT_ONCE,
                socket_timeout=patience_s,
                socket_connect_timeout=patience_s,
            )
        except ValueError:
            raise GatewayError("redis_url is no URL of a Redis: write redis://HOST:PORT/DATABASE") from None
        self._client = client
        self._swap = client.register_script(_SWAP)
        self._errors: tuple[type[Exception], ...] = (RedisError, OSError)

    async def read(self, owner: Owner) -> Stored:
        """Return what stands there.

        Raises:
            StoreAway: if the server does not answer.
        """
        try:
            data = await self._client.get(_key(owner))
        except self._errors as error:
            raise StoreAway(_reason(error)) from error
        return Stored(data) if isinstance(data, bytes) else NOTHING_STORED

    async def swap(self, owner: Owner, standing: Stored, data: bytes) -> Stored | None:
        """Put ``data`` in the place of ``standing``: the same bytes are the same state.

        Raises:
            StoreAway: if the server does not answer; whether it was stored is unknown.
        """
        try:
            done = await self._swap(keys=[_key(owner)], args=[standing.data, data, _KEPT_MS])
        except self._errors as error:
            raise StoreAway(_reason(error)) from error
        return Stored(data) if done else None

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _key(owner: Owner) -> str:
    return f"ig3:limits:{owner.scope}:{owner.name}"


def _reason(error: Exception) -> str:
    # The text of some errors holds the address, none the password.
    return f"Redis does not answer: {type(error).__name__}: {error}"
