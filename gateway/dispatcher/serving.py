"""Seeing one task to its end: it pays, and its hold is in the books, before anything is written of it."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.dispatcher import gate
from gateway.dispatcher.holds import LedgerAway
from streams.events import TaskError
from streams.tasks.task import Phase

if TYPE_CHECKING:
    from collections.abc import Generator

    from gateway.dispatcher.entrance import Entrance
    from gateway.dispatcher.life import TaskLife
    from gateway.dispatcher.settings import DispatcherSettings
    from gateway.limits.ticket import Ticket
    from mesh.bus.work import Work
    from streams.events import TaskSubmitted

LEDGER_PAUSE: Final = timedelta(seconds=5)
"""Before a task of the class batch is offered again for which nothing could be put aside."""


class Serving:
    """For one dispatcher."""

    def __init__(self, entrance: Entrance, settings: DispatcherSettings) -> None:
        """Have tasks pay at ``entrance``."""
        self._entrance = entrance
        self._deadline = settings.deadline

    async def serve(
        self, life: TaskLife, work: Work, asked: TaskSubmitted | TaskError, refused: TaskError | None
    ) -> None:
        """See a task to its end, with what was submitted and what is wrong with it.

        Raises:
            LedgerAway: if nothing can be put aside for it now, and it may come again later.
            BusError: if the task must go to another dispatcher.
        """
        if refused is not None or isinstance(asked, TaskError):
            await life.run(asked, refused)
            return
        ticket = self._entrance.ticket(work, life.record.key.account)
        with _paying(ticket, life):
            if await life.has_begun():
                self._entrance.inherit(ticket, life.record, asked)
            else:
                refused = await self._entrance.pay(ticket, asked) or await self._hold(life, asked)
            on_end = None if ticket is None or refused is not None else ticket.finish
            await life.run(asked, refused, on_end=on_end)

    async def _hold(self, life: TaskLife, asked: TaskSubmitted) -> TaskError | None:
        key = life.record.key
        try:
            return await self._entrance.hold(key, asked)
        except LedgerAway as error:
            left = gate.time_left(key.task, asked, default=self._deadline)
            if life.service_class == "batch" and left > LEDGER_PAUSE:
                raise
            return gate.ledger_away_error(str(error))


@contextlib.contextmanager
def _paying(ticket: Ticket | None, life: TaskLife) -> Generator[None]:
    """Give back what was paid, unless something is written of the task: then whoever ends it settles it."""
    if ticket is None:
        yield
        return
    with ticket:
        try:
            yield
        finally:
            if life.record.state.phase not in (Phase.SUBMITTED, Phase.ENDED):
                ticket.keep()
