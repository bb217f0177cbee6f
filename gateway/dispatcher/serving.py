"""Seeing one task to its end: it pays before anything is written of it, as over HTTP, and its hold is waited for."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.dispatcher import gate
from gateway.dispatcher.holding import Holding
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
"""Before a task that can wait is offered again for which nothing could be put aside."""


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
        key = life.record.key
        ticket = self._entrance.ticket(work, key.account)
        has_begun = await life.has_begun()
        with _paying(ticket, life):
            if has_begun:
                self._entrance.inherit(ticket, life.record, asked)
            else:
                refused = await self._entrance.pay(ticket, asked)
            if refused is not None or (has_begun and not life.record.may_be_unheld):
                await self._live(life, asked, refused, ticket)
            elif not self._entrance.needs_hold(key.account):
                await self._live(life, asked, None, ticket)
            else:
                await self._hold_and_live(life, asked, ticket, has_begun=has_begun)

    async def _live(
        self,
        life: TaskLife,
        asked: TaskSubmitted,
        refused: TaskError | None,
        ticket: Ticket | None,
        hold: Holding | None = None,
    ) -> None:
        on_end = None if ticket is None or refused is not None else ticket.finish
        await life.run(asked, refused, hold=hold, on_end=on_end)

    async def _hold_and_live(
        self, life: TaskLife, asked: TaskSubmitted, ticket: Ticket | None, *, has_begun: bool
    ) -> None:
        may_wait = has_begun or life.service_class == "batch"
        async with Holding(life.record, self._hold(life, asked, may_wait=may_wait)) as hold:
            is_beside = not may_wait and self._entrance.is_good_for(life.record.key.account)
            await self._live(life, asked, None if is_beside else await hold.refusal(), ticket, hold)

    async def _hold(self, life: TaskLife, asked: TaskSubmitted, *, may_wait: bool) -> TaskError | None:
        key = life.record.key
        try:
            return await self._entrance.hold(key, asked)
        except LedgerAway as error:
            if may_wait and gate.time_left(key.task, asked, default=self._deadline) > LEDGER_PAUSE:
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
