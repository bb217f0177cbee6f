"""How many tasks wait that must not leave a region: a part of what a dispatcher says of its backlog."""

from __future__ import annotations

from msgspec import Struct

from streams.tasks.chat import Count


class RegionBacklog(Struct, frozen=True, kw_only=True):
    """Tasks that wait for a model and may have it in one region only; ``ModelBacklog`` counts them too."""

    model: str
    region: str
    waiting: Count
