"""All limits of one gateway: whose hold for a caller, what running tasks have paid, and what is seen to meanwhile."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.limits.meter import Meter
from gateway.limits.store import Owner, SharedLimits
from gateway.limits.ticket import Ticket
from streams.clock import now_ms
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.limits.rules import LimitRules
    from gateway.limits.store import LimitStore
    from mesh.access.caller import Caller
    from streams.access.limits import Limits
    from streams.events import EndEvent
    from streams.subjects import TaskKey

log = logging.getLogger(__name__)

TEND_S: Final = 0.25

_AT_ONCE: Final = 32
"""How much of what can wait is told to the store at once: requests that wait for it come first."""
_MOST_METERS: Final = 20_000
"""Accounts and keys that are kept in mind; beyond, those at rest are forgotten, and begin anew from the store."""
_SWEEP_MS: Final = 30_000
_GRACE_MS: Final = 60_000
_STOP_S: Final = 1.0


class _Running(NamedTuple):
    """A task whose price is not settled yet."""

    ticket: Ticket
    gone_at_ms: int
    """By then it has ended, whether we heard of it or not."""


class Limiter:
    """Hands out tickets. Between ``start`` and ``stop``, what is not used goes back."""

    def __init__(
        self, store: LimitStore, rules: LimitRules, *, holder: str | None = None, clock: Callable[[], int] = now_ms
    ) -> None:
        """Keep what is taken in ``store``, and close it at the end; ``holder`` is a name that no other gateway has."""
        self._store = store
        self._shared = SharedLimits(store)
        self._rules = rules
        self._holder = holder or f"{os.getpid()}-{os.urandom(4).hex()}"
        self._clock = clock
        self._meters: dict[Owner, Meter] = {}
        self._meters_of: dict[tuple[Token, str | None], tuple[Meter, ...]] = {}
        self._busy: set[Meter] = set()
        self._running: dict[TaskKey, list[_Running]] = {}
        self._sweep_at_ms = 0
        self._tending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to give back what is not used."""
        self._tending = asyncio.create_task(self._tend(), name="limits")

    async def stop(self) -> None:
        """Give back all that is in hand, as far as the store takes it in time."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        try:
            async with asyncio.timeout(_STOP_S):
                await asyncio.gather(*(meter.lay_down() for meter in self._busy))
        except TimeoutError:
            log.warning("what this gateway held of limits could not be given back; it comes free by itself")
        await self._store.close()

    def meters_of(self, caller: Caller) -> tuple[Meter, ...]:
        """The limits that hold for a caller: those of the key first, then those of its account; none: no limits."""
        who = caller.account, caller.key_id
        found = self._meters_of.get(who)
        if found is None:
            found = self._find(caller)
            self._meters_of[who] = found
        return found

    def ticket(self, caller: Caller) -> Ticket:
        """What a caller's request pays with."""
        return Ticket(self.meters_of(caller), self._clock, caller.key_id)

    def keep(self, key: TaskKey, ticket: Ticket, *, deadline_at_ms: int) -> None:
        """A task is about to be stored: its end settles the ticket, whoever reads the answer."""
        if ticket.has_paid:
            ticket.keep()
            self._running.setdefault(key, []).append(_Running(ticket, deadline_at_ms + _GRACE_MS))

    def drop(self, key: TaskKey, ticket: Ticket) -> None:
        """It was not stored after all, or somebody else had stored it."""
        running = self._running.get(key, [])
        others = [each for each in running if each.ticket is not ticket]
        if len(others) == len(running):
            return
        ticket.drop()
        if others:
            # The same request came twice at once, and one of them was first.
            self._running[key] = others
        else:
            del self._running[key]

    def on_end(self, key: TaskKey, end: EndEvent) -> None:
        """Settle what a task has paid."""
        for running in self._running.pop(key, ()):
            running.ticket.settle_end(end)

    # --- meters ----------------------------------------------------------------------------------------------------

    def _find(self, caller: Caller) -> tuple[Meter, ...]:
        owners = [(Owner("account", caller.account), self._rules.of_account(caller.account))]
        if caller.key_id is not None:
            owners.insert(0, (Owner("key", Token(caller.key_id)), caller.limits))
        if len(self._meters_of) >= _MOST_METERS:
            self._forget()
        return tuple(self._meter(owner, limits) for owner, limits in owners if limits.has_any)

    def _meter(self, owner: Owner, limits: Limits) -> Meter:
        meter = self._meters.get(owner)
        if meter is None:
            meter = Meter(owner, limits, self._shared, self._holder, self._clock, on_use=self._use)
            self._meters[owner] = meter
        return meter

    def _use(self, meter: Meter) -> None:
        self._busy.add(meter)

    def _forget(self) -> None:
        """Two meters of one owner must not be: those in use stay."""
        self._meters = {owner: meter for owner, meter in self._meters.items() if meter in self._busy}
        self._meters_of.clear()

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(TEND_S)
            try:
                await self._tend_once()
            except Exception:
                log.exception("what is not used of limits could not be given back; trying again")

    async def _tend_once(self) -> None:
        due = [meter for meter in self._busy if meter.is_due()]
        for begin in range(0, len(due), _AT_ONCE):
            await asyncio.gather(*(meter.tell() for meter in due[begin : begin + _AT_ONCE]))
        self._busy = {meter for meter in self._busy if not meter.is_at_rest}
        self._sweep()

    def _sweep(self) -> None:
        """Forget tasks whose end we cannot have heard: what they reserved stays charged."""
        now = self._clock()
        if now < self._sweep_at_ms:
            return
        self._sweep_at_ms = now + _SWEEP_MS
        for key in [key for key, running in self._running.items() if running[0].gone_at_ms < now]:
            del self._running[key]
