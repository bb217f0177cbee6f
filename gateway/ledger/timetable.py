"""What a ledger does by the calendar: it closes weeks, seals months, and requests payouts.

Whatever is due is found on the log each time, and done in its order: so it does not matter how long no ledger ran, how
many run, or where one has died. Nothing of it is remembered anywhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from gateway.errors import GatewayError
from gateway.ledger.clocks import by_both_clocks
from gateway.ledger.months import Months
from gateway.payouts.policy import Requests
from gateway.rewards.weeks import Weeks
from mesh.errors import BusError
from mesh.telemetry.names import LEDGER_BY_ITSELF
from streams.errors import StreamsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.ledger.books import Books
    from gateway.ledger.settings import LedgerSettings
    from mesh.telemetry.telemetry import Telemetry

log = logging.getLogger(__name__)

LOOK_S: Final = 60.0


class Chore(Protocol):
    """One thing that is done by the calendar."""

    name: str

    async def look(self, now_ms: int) -> int:
        """Do what is due; returns how often something was done."""
        ...


class Timetable:
    """Looks what is due when it starts, and about once a minute."""

    def __init__(
        self,
        books: Books,
        settings: LedgerSettings,
        telemetry: Telemetry,
        clock: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        """Prepare; ``start`` begins to look. ``clock``: the time; left out: by the clock that is behind."""
        self._telemetry = telemetry
        self._clock = clock or partial(by_both_clocks, books.core)
        self._chores = _chores(books, settings)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="timetable")

    async def stop(self) -> None:
        """Look no more; what was begun is gone on with by whoever looks next."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> None:
        """Do all that is due; what cannot be done now is named in the log, and tried again."""
        for chore in self._chores:
            try:
                done = await chore.look(await self._clock())
            except (BusError, GatewayError, StreamsError) as error:
                log.warning("%s: that cannot be done now: %s", chore.name, error)
            except Exception:
                # One that cannot be done must not keep the others from being done.
                log.exception("%s: that cannot be done now", chore.name)
            else:
                if done:
                    self._telemetry.add(LEDGER_BY_ITSELF, done, {"what": chore.name})

    async def _run(self) -> None:
        while True:
            await self.look()
            # Several ledgers that were started at once do not all add up the same month.
            await asyncio.sleep(LOOK_S * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, guards nothing


def _chores(books: Books, settings: LedgerSettings) -> tuple[Chore, ...]:
    """In this order: what a week gives is there before payouts are requested."""
    chores: list[Chore] = []
    if settings.close_weeks_after is not None:
        chores.append(Weeks(books.core, settings.close_weeks_after, books.last_sequence_of))
    if settings.seal_months_after is not None:
        chores.append(Months(books.core, settings.seal_months_after, settings.books_archive))
    chores.append(Requests(books))
    return tuple(chores)
