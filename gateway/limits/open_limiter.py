"""The limiter of one process, as the settings want it: gateways and dispatchers share what is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.limits.limiter import Limiter
from gateway.limits.memory_store import MemoryStore
from gateway.limits.nats_store import NatsStore
from gateway.limits.redis_store import RedisStore

if TYPE_CHECKING:
    from gateway.limits.store import LimitStore
    from gateway.settings import GatewaySettings
    from mesh.bus.link import Link


def open_limiter(core: Link, settings: GatewaySettings) -> Limiter:
    """Make a limiter, to be started and stopped by whoever asks for it.

    Raises:
        GatewayError: if the store of limits that the settings name cannot be used.
    """
    return Limiter(_store(core, settings), settings.limit_rules)


def _store(core: Link, settings: GatewaySettings) -> LimitStore:
    if settings.limits_store == "memory":
        return MemoryStore()
    return NatsStore(core) if settings.redis_url is None else RedisStore(settings.redis_url)
