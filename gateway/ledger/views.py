"""What the books say to whoever asks: usage, balances and prices, as they stand in this process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from streams.billing.messages import (
    Balance,
    BalanceRow,
    BalanceWanted,
    LedgerRefusal,
    PricesShown,
    PricesWanted,
    UsageWanted,
)
from streams.billing.money import held, user
from streams.billing.subjects import account_chain, ledger_api
from streams.clock import now_ms
from streams.codec import decode, encode
from streams.consumers import LEDGER
from streams.errors import StreamsError
from streams.ledger.chain import month_of
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener
    from streams.billing.messages import UsagePage
    from streams.billing.subjects import LedgerVerb
    from streams.ledger.fold import LedgerState
    from streams.wire import Wire


class Views:
    """Answers ``ledger.usage``, ``ledger.balance`` and ``ledger.prices``."""

    def __init__(self, core: Link, state: LedgerState) -> None:
        """Prepare; ``start`` begins to answer."""
        self._core = core
        self._state = state
        self._listeners: list[Listener] = []

    async def start(self) -> None:
        """Begin to answer."""
        await self._answer("usage", UsageWanted, self._usage)
        await self._answer("balance", BalanceWanted, self._balance)
        await self._answer("prices", PricesWanted, self._prices)

    async def stop(self) -> None:
        """Answer no more."""
        for listener in self._listeners:
            await listener.close()

    async def _answer(self, verb: LedgerVerb, kind: type[Any], answer: Callable[[Any], Wire]) -> None:
        handler = partial(self._on_request, kind, answer)
        self._listeners.append(await self._core.listen(ledger_api(verb), handler, queue=LEDGER))

    def _on_request(self, kind: type[Any], answer: Callable[[Any], Wire], delivery: Delivery) -> None:
        try:
            said = answer(decode(delivery.data, kind))
        except StreamsError as error:
            said = LedgerRefusal(message=f"that cannot be answered: {error}"[:512])
        self._core.reply_to(delivery, encode(said))

    def _usage(self, asked: UsageWanted) -> UsagePage:
        return self._state.usage.page(asked.account, asked.first_day, asked.last_day, asked.after)

    def _balance(self, asked: BalanceWanted) -> Balance:
        return balance_of(self._state, asked.account)

    def _prices(self, _: PricesWanted) -> PricesShown:
        now = now_ms()
        return PricesShown(current=self._state.prices.at(now), following=self._state.prices.after(now))


def balance_of(state: LedgerState, account: str) -> Balance:
    """Return what an account has, in every currency that ever moved for it, and how it pays.

    Raises:
        InvalidToken: if that can be no account.
    """
    name = token(account)
    chain = state.chains.get(account_chain(name).subject)
    free, aside = str(user(name)), str(held(name))
    currencies = sorted({currency for whose, currency in state.balances if whose in (free, aside)})
    month, plan = month_of(now_ms()), None if chain is None else chain.plan
    rows = tuple(
        BalanceRow(
            currency=currency,
            free_nano=state.balance(free, currency),
            held_nano=state.balance(aside, currency),
            spent_this_month_nano=0 if chain is None else chain.spent_nano(month, currency),
        )
        for currency in currencies
    )
    if plan is None:
        return Balance(account=account, rows=rows)
    return Balance(
        account=account, plan=plan.kind, limit_nano=plan.limit_nano, monthly_nano=plan.monthly_nano, rows=rows
    )
