"""A ledger that only answers `ledger.hold`, as a test tells it to: for the gate, which needs no books."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.requests import Desk
from mesh.bus.direct_client import Delivery
from mesh.bus.link import Link
from streams.billing_events import PriceRule, PricesSet
from streams.billing_subjects import book_chain, ledger_api
from streams.clock import now_ms
from streams.codec import encode
from streams.ledger_messages import Held, HoldRefused, HoldWanted


class PlayedLedger:
    """Holds for everybody, but for accounts that it has an answer for."""

    def __init__(self) -> None:
        self.wanted: list[HoldWanted] = []
        self.refuses: dict[str, HoldRefused] = {}

    def asked_for(self, account: str) -> list[HoldWanted]:
        return [wanted for wanted in self.wanted if wanted.account == account]

    def refuse(self, account: str, code: str, status: int) -> None:
        self.refuses[account] = HoldRefused(task="", code=code, status=status, message=f"{account} has no money left.")  # type: ignore[arg-type]  # any code will do

    async def hold(self, _: Delivery, wanted: HoldWanted) -> Held | HoldRefused:
        self.wanted.append(wanted)
        return self.refuses.get(wanted.account) or Held(task=wanted.task, price_version=1, currency="EUR")


@asynccontextmanager
async def played_ledger(core: Link) -> AsyncIterator[PlayedLedger]:
    """Answer while inside."""
    desk, ledger = Desk(core), PlayedLedger()
    await desk.serve(ledger_api("hold"), HoldWanted, ledger.hold)
    try:
        yield ledger
    finally:
        await desk.stop()


async def set_prices(core: Link) -> None:
    """Have every model cost something from now on."""
    rules = (PriceRule(model="*", prompt=10, completion=30),)
    prices = PricesSet(at_ms=now_ms(), version=1, effective_at_ms=0, currency="EUR", rules=rules)
    await core.append(book_chain("prices").subject, encode(prices))
