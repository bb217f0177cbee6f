"""Values in Redis, or what speaks its protocol, each changed only where it still is what was read."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Generator

_SWAP: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_MS: Final = timedelta(milliseconds=1)
_AT_ONCE: Final = 512


class RedisValues:
    """Bytes under keys."""

    def __init__(self, url: str, *, connections: int, patience: timedelta, away: type[GatewayError]) -> None:
        """Prepare to ask the server at ``url``: ``redis://``, ``rediss://`` or ``unix://``.

        Args:
            url: where, and the password if there is one.
            connections: how many at most; whoever finds none free waits for one.
            patience: how long a connection or an answer may take.
            away: what is raised where the server does not answer.

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
        # redis-py is typed in part only: what it returns is narrowed below.
        pool: Any = BlockingConnectionPool
        make: Any = Redis
        patience_s = patience.total_seconds()
        try:
            self._pool = pool.from_url(
                url,
                max_connections=connections,
                timeout=patience_s,
                socket_timeout=patience_s,
                socket_connect_timeout=patience_s,
            )
        except ValueError:
            raise GatewayError("redis_url is no URL of a Redis: write redis://HOST:PORT/DATABASE") from None
        self._client = make(connection_pool=self._pool)
        self._swap = self._client.register_script(_SWAP)
        self._away = away
        self._errors: tuple[type[Exception], ...] = (RedisError, OSError)

    async def read(self, key: str) -> bytes | None:
        """Return what stands under a key.

        Raises:
            GatewayError: ``away``, if the server does not answer.
        """
        with self._translated():
            data = await self._client.get(key)
        return data if isinstance(data, bytes) else None

    async def swap(self, key: str, standing: bytes, data: bytes, *, kept: timedelta) -> bool:
        """Put ``data`` in the place of ``standing`` (empty: nothing) if that stands there; says whether it did.

        Raises:
            GatewayError: ``away``, if the server does not answer; whether it was stored is unknown.
        """
        with self._translated():
            return bool(await self._swap(keys=[key], args=[standing, data, max(1, kept // _MS)]))

    async def forget(self, prefix: str) -> None:
        """Delete all whose key begins with ``prefix``.

        Raises:
            GatewayError: ``away``, if the server does not answer.
        """
        with self._translated():
            keys = [key async for key in self._client.scan_iter(match=f"{prefix}*", count=_AT_ONCE)]
            for begin in range(0, len(keys), _AT_ONCE):
                await self._client.delete(*keys[begin : begin + _AT_ONCE])

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        await self._pool.aclose()

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except self._errors as error:
            # The text of some errors holds the address, none the password.
            raise self._away(f"Redis does not answer: {type(error).__name__}: {error}") from error
