"""Who sends what where about the response cache: a part of ``streams.channels``."""

from __future__ import annotations

import inspect
from typing import Final

from streams import topology
from streams.cache.events import CacheHit
from streams.cache.messages import CacheRecord
from streams.cache.subjects import cache_entry, cache_hits
from streams.channel import Channel, Sender

CACHE_CHANNELS: Final[tuple[Channel, ...]] = (
    Channel(
        name="cache",
        address="cache.{account}.{digest}",
        account="CORE",
        description=inspect.getdoc(cache_entry) or "",
        senders=(Sender("service", (CacheRecord,)),),
        receivers=("service",),
        stream=topology.CACHE,
    ),
    Channel(
        name="hits",
        address="hits.{account}",
        account="CORE",
        description=inspect.getdoc(cache_hits) or "",
        senders=(Sender("service", (CacheHit,)),),
        receivers=("service",),
        stream=topology.HITS,
    ),
)
"""Every channel of the response cache."""
