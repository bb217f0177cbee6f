"""Holds whose task never ends are given back: its end would have come and gone by now.

A task may expire while no dispatcher runs, and a store may be lost with all that was in it. Then nothing ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from gateway.ledger.clocks import by_both_clocks
from mesh.errors import BusError
from mesh.history.stream_facts import stream_facts
from mesh.telemetry.names import LEDGER_RELEASED
from streams.billing.events import LedgerPosted
from streams.billing.subjects import account_chain, parse_chain
from streams.codec import encode
from streams.ledger.fold import digest_of_body
from streams.ledger.releasing import given_up_after, old_holds, release
from streams.topology import ENDED, KEYS

if TYPE_CHECKING:
    from datetime import timedelta

    from gateway.ledger.books import Books
    from mesh.bus.link import Link
    from mesh.telemetry.telemetry import Telemetry
    from streams.billing.log import AnyBillingEvent
    from streams.ledger.chain import ChainState
    from streams.tokens import Token

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 400
"""Releases in one event."""

_LOOK_S: Final = 3600.0
_AGAIN_S: Final = 30.0
"""After a look that came to nothing, since the broker did not answer."""
_MOST_NAMED: Final = 20


class Releasing:
    """Looks for holds that are too old, when it starts and once an hour."""

    def __init__(self, core: Link, books: Books, telemetry: Telemetry) -> None:
        """Prepare; ``start`` begins to look."""
        self._core = core
        self._books = books
        self._telemetry = telemetry
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="releasing")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            pause_s = _LOOK_S
            try:
                await self._look()
            except BusError as error:
                log.warning("holds that are too old cannot be given back now: %s", error)
                pause_s = _AGAIN_S
            except Exception:
                # One chain that cannot be handled must not keep all others from being looked at again.
                log.exception("holds that are too old cannot be given back now")
            await asyncio.sleep(pause_s)

    async def _look(self) -> None:
        # Idempotency keys are kept as long as tasks are, and can be asked for in this account.
        keys, facts = await stream_facts(self._core, KEYS), await stream_facts(self._core, ENDED)
        after = given_up_after(keys.max_age, facts.max_age)
        # One that has jumped ahead must not give back what runs.
        now = await by_both_clocks(self._core)
        for subject, state in tuple(self._books.state.chains.items()):
            if old_holds(state, now_ms=now, after=after, most=1):
                await self._give_back(parse_chain(subject).name, now, after)

    async def _give_back(self, account: Token, now: int, after: timedelta) -> None:
        giving = _Giving(account, now, after)
        await self._books.write(account_chain(account), giving.compose)
        if not giving.given:
            return
        self._telemetry.add(LEDGER_RELEASED, len(giving.given))
        log.warning(
            "account %s: %d holds were given back, since nothing was heard of their tasks for %s: %s",
            account,
            len(giving.given),
            after,
            ", ".join(giving.given[:_MOST_NAMED]),
        )


class _Giving:
    """What is given back to one account, and what of that this ledger has written."""

    def __init__(self, account: Token, now: int, after: timedelta) -> None:
        self._account = account
        self._now = now
        self._after = after
        self._trying: list[str] = []
        self._digest = ""
        self.given: list[str] = []

    def compose(self, chain: ChainState, at_ms: int) -> AnyBillingEvent | None:
        """Return what is left to be given back, as the next event."""
        if self._trying and chain.digest == self._digest:
            # It was this ledger's: another one may have been faster.
            self.given += self._trying
        old = old_holds(chain, now_ms=self._now, after=self._after, most=MOST_AT_ONCE)
        self._trying = [task for task, _ in old]
        if not old:
            return None
        releases = tuple(release(self._account, task, hold, at_ms=at_ms) for task, hold in old)
        event = LedgerPosted(at_ms=at_ms, previous=chain.digest, transactions=releases)
        self._digest = digest_of_body(encode(event))
        return event
