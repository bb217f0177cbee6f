"""Who holds how many of the streams that one account or key may have open at once: a pure function.

Each gateway says how many it holds, and for how long that is to be believed. What a dead gateway held comes free then.
"""

from __future__ import annotations

from typing import NamedTuple

from streams.access.limits import StreamHolder

Holders = tuple[StreamHolder, ...]


class Held(NamedTuple):
    """What came of asking."""

    holders: Holders
    held: int
    others: int
    """How many all others hold."""


def hold(limit: int, holders: Holders, now_ms: int, own: StreamHolder, *, most: int) -> Held:
    """Hold up to ``most`` streams; ``own`` says who asks, how many are open there, and until when that counts."""
    rest = tuple(each for each in holders if each.name != own.name and each.until_ms > now_ms)
    others = sum(each.streams for each in rest)
    held = max(own.streams, min(most, limit - others))
    ours = (StreamHolder(name=own.name, streams=held, until_ms=own.until_ms),) if held else ()
    return Held((*rest, *ours), held, others)
