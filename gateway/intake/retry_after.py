"""When it is worth asking again for what there is no room for now."""

from __future__ import annotations

import math
from typing import Final

_SHORTEST_S: Final = 1
_LONGEST_S: Final = 60
UNKNOWN_S: Final = 10
"""When to come back where nothing has ended lately, so that nobody can say."""


def retry_after_s(over: int, ended_per_s: float) -> int:
    """When there is room again, if tasks go on ending as they do; ``over`` are those that wait before this one."""
    if ended_per_s <= 0:
        return UNKNOWN_S
    return min(_LONGEST_S, max(_SHORTEST_S, math.ceil((over + 1) / ended_per_s)))
