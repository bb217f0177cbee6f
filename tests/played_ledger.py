"""A ledger that has no books and answers as a test tells it to: for the gate, and for those who read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.requests import Desk
from mesh.bus.direct_client import Delivery
from mesh.bus.link import Link
from streams.billing.events import PriceRule, PricesSet
from streams.billing.messages import (
    Held,
    HoldRefused,
    HoldWanted,
    LedgerRefusal,
    PricesShown,
    PricesWanted,
    UsagePage,
    UsageRow,
    UsageWanted,
)
from streams.billing.subjects import book_chain, ledger_api
from streams.clock import now_ms
from streams.codec import encode

PRICES = PricesSet(
    at_ms=now_ms(),
    version=1,
    effective_at_ms=0,
    currency="EUR",
    rules=(PriceRule(model="*", prompt=10, cached_prompt=5, completion=30),),
)


class PlayedLedger:
    """Holds for everybody, but for accounts that it has an answer for."""

    def __init__(self) -> None:
        self.wanted: list[HoldWanted] = []
        self.refuses: dict[str, HoldRefused] = {}
        self.rows: dict[str, tuple[UsageRow, ...]] = {}
        self.prices = PricesShown()
        self.rows_at_once = 2

    def asked_for(self, account: str) -> list[HoldWanted]:
        return [wanted for wanted in self.wanted if wanted.account == account]

    def refuse(self, account: str, code: str, status: int) -> None:
        self.refuses[account] = HoldRefused(task="", code=code, status=status, message=f"{account} has no money left.")  # type: ignore[arg-type]  # any code will do

    async def hold(self, _: Delivery, wanted: HoldWanted) -> Held | HoldRefused:
        self.wanted.append(wanted)
        return self.refuses.get(wanted.account) or Held(task=wanted.task, price_version=1, currency="EUR")

    async def usage(self, _: Delivery, wanted: UsageWanted) -> UsagePage | LedgerRefusal:
        if wanted.account == "unreadable":
            return LedgerRefusal(message="its chain was written by a newer version")
        rows = [row for row in self.rows.get(wanted.account, ()) if wanted.first_day <= row.day <= wanted.last_day]
        end = wanted.after + self.rows_at_once
        return UsagePage(rows=tuple(rows[wanted.after : end]), next_after=end if end < len(rows) else None)

    async def show_prices(self, _: Delivery, __: PricesWanted) -> PricesShown:
        return self.prices


@asynccontextmanager
async def played_ledger(core: Link) -> AsyncIterator[PlayedLedger]:
    """Answer while inside."""
    desk, ledger = Desk(core), PlayedLedger()
    await desk.serve(ledger_api("hold"), HoldWanted, ledger.hold)
    await desk.serve(ledger_api("usage"), UsageWanted, ledger.usage)
    await desk.serve(ledger_api("prices"), PricesWanted, ledger.show_prices)
    try:
        yield ledger
    finally:
        await desk.stop()


async def set_prices(core: Link) -> None:
    """Have every model cost something from now on."""
    await core.append(book_chain("prices").subject, encode(PRICES))
