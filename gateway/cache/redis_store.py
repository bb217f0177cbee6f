"""Answers in Redis, or what speaks its protocol: for meshes that have one anyway."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.cache.store import NOTHING_STORED, CacheAway, Stored
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.cache.key import Slot
    from streams.tokens import Token

_SWAP: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_MOST_CONNECTIONS: Final = 64
_LONGEST_S: Final = 5.0
_MS: Final = timedelta(milliseconds=1)
_AT_ONCE: Final = 512


class RedisStore:
    """Keeps answers under ``ig3:cache:<owner>:<digest>``. One database is one mesh's; its size is Redis's own."""

    def __init__(self, url: str) -> None:
        """Prepare to ask the server at ``url``: ``redis://``, ``rediss://`` or ``unix://``.

        Raises:
            GatewayError: if the package ``redis`` is not installed, or the URL is none. The URL, which may hold a
                password, is not in the text.
        """
        try:
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.exceptions import RedisError
        except ImportError as error:
            remedy = "install it with pip install 'ig3-edge-network[cache]', or leave redis_url out"
            raise GatewayError(f"redis_url is set, and the package redis is not installed: {remedy}") from error
        try:
            # redis-py is typed in part only: what it returns is narrowed below. Whoever finds no connection free waits
            # for one, which the patience of requests bounds.
            pool: Any = BlockingConnectionPool
            make: Any = Redis
            client = make(
                connection_pool=pool.from_url(
                    url,
                    max_connections=_MOST_CONNECTIONS,
                    timeout=_LONGEST_S,
                    socket_timeout=_LONGEST_S,
                    socket_connect_timeout=_LONGEST_S,
                )
            )
        except ValueError:
            raise GatewayError("redis_url is no URL of a Redis: write redis://HOST:PORT/DATABASE") from None
        self._client = client
        self._swap = client.register_script(_SWAP)
        self._errors: tuple[type[Exception], ...] = (RedisError, OSError)

    async def read(self, slot: Slot, *, is_newest: bool = False) -> Stored:
        """Return what stands in a slot.

        Raises:
            CacheAway: if the server does not answer.
        """
        try:
            data = await self._client.get(_key(slot))
        except self._errors as error:
            raise CacheAway(_reason(error)) from error
        return Stored(data) if isinstance(data, bytes) else NOTHING_STORED

    async def swap(self, slot: Slot, standing: Stored, data: bytes, *, kept: timedelta) -> Stored | None:
        """Put ``data`` in the place of ``standing``: the same bytes are the same state.

        Raises:
            CacheAway: if the server does not answer; whether it was stored is unknown.
        """
        try:
            done = await self._swap(keys=[_key(slot)], args=[standing.data, data, max(1, kept // _MS)])
        except self._errors as error:
            raise CacheAway(_reason(error)) from error
        return Stored(data) if done else None

    async def forget(self, owner: Token) -> None:
        """Delete all that is an owner's.

        Raises:
            CacheAway: if the server does not answer.
        """
        try:
            keys = [key async for key in self._client.scan_iter(match=f"ig3:cache:{owner}:*", count=_AT_ONCE)]
            for begin in range(0, len(keys), _AT_ONCE):
                await self._client.delete(*keys[begin : begin + _AT_ONCE])
        except self._errors as error:
            raise CacheAway(_reason(error)) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        await self._client.connection_pool.aclose()


def _key(slot: Slot) -> str:
    return f"ig3:cache:{slot.owner}:{slot.digest}"


def _reason(error: Exception) -> str:
    # The text of some errors holds the address, none the password.
    return f"Redis does not answer: {type(error).__name__}: {error}"
