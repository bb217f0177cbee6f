"""Pauses between tries, spread by chance so that a thousand nodes never knock in step."""

from __future__ import annotations

import random
from typing import Final

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0


def pause_s(tries: int, *, longest_s: float = LONGEST_PAUSE_S) -> float:
    """Seconds to wait after so many tries in vain: doubling, to a limit."""
    return jittered_s(min(FIRST_PAUSE_S * 2 ** min(tries - 1, 16), longest_s))


def jittered_s(longest_s: float) -> float:
    """A duration between 80 % and all of ``longest_s``."""
    return longest_s * random.uniform(0.8, 1.0)  # noqa: S311 - spreads load, keeps no secret
