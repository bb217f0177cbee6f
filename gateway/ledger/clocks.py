"""What time it is for what is done by the calendar: by the clock that is behind, this machine's or the broker's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.history.stream_facts import stream_facts
from streams.clock import now_ms
from streams.topology import BILLING

if TYPE_CHECKING:
    from mesh.bus.link import Link


async def by_both_clocks(core: Link) -> int:
    """Return the time in Unix milliseconds: something is over when it is by both clocks.

    Raises:
        BusError: if the broker cannot be asked.
    """
    told_at = (await stream_facts(core, BILLING)).told_at
    return now_ms() if told_at is None else min(now_ms(), int(told_at.timestamp() * 1000))
