"""Weeks of rewards that are over are closed by the ledger itself, as soon as rules were set."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.rewards.closing import CHAIN, SETTLED_AFTER, close_epoch, read_rewards
from mesh.history.stream_facts import stream_facts
from streams.rewards.due import weeks_due
from streams.rewards.epochs import epoch_at, last_over
from streams.topology import DEVICES

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from mesh.bus.link import Link

log = logging.getLogger(__name__)


class Weeks:
    """Closes each week once, in their order, however many are due and whoever else does."""

    name = "week_closed"

    def __init__(self, core: Link, after: timedelta, sequence_of: Callable[[str], int]) -> None:
        """Close a week ``after`` its end; ``sequence_of`` tells the last event of a chain, as far as it is known."""
        self._core = core
        self._after_ms = round(max(after, SETTLED_AFTER).total_seconds() * 1000)
        self._sequence_of = sequence_of
        self._seen = (0, -1)

    async def look(self, now_ms: int) -> int:
        """Close what is due; returns how many weeks were not closed before.

        Raises:
            RewardError: if a week cannot be closed; those before it are, and none behind it.
            BusError: if the logs cannot be read, or the books written.
            UndecodableEvent: if a newer version wrote there.
        """
        until_ms = now_ms - self._after_ms
        # Where no rules were ever set there is nothing to read, and nothing to read again while nothing has changed.
        seen = (self._sequence_of(CHAIN.subject), last_over(until_ms))
        if seen[0] == 0 or seen == self._seen:
            return 0
        first_at = (await stream_facts(self._core, DEVICES)).first_at
        if first_at is None:
            return 0
        first = epoch_at(int(first_at.timestamp() * 1000))
        weeks = weeks_due(await read_rewards(self._core), first=first, at_ms=until_ms)
        for week in weeks:
            closed = await close_epoch(self._core, week, clock_ms=lambda: now_ms)
            log.info("the week of %s is closed: rules %s, %d devices", week.day, closed.version, closed.devices)
        self._seen = seen
        return len(weeks)
