"""What operators write into the books: money that comes in, price lists, plans, and corrections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import LedgerError
from streams.billing.events import LedgerPosted, PlanSet, Posting, PricesSet, Transaction
from streams.billing.money import OUTSIDE, decimal_of, user
from streams.billing.subjects import account_chain, book_chain

if TYPE_CHECKING:
    from gateway.ledger.books import Books
    from streams.billing.events import KeyBudget, PlanKind, PriceRule
    from streams.billing.log import AnyBillingEvent
    from streams.ledger.chain import ChainState
    from streams.tokens import Token


async def deposit(
    books: Books, account: Token, amount_nano: int, currency: str, *, reference: str, by: str, note: str = ""
) -> bool:
    """Credit an account with what was paid in, or debit it with what was paid back.

    Returns False, and writes nothing, where ``reference`` was credited before.

    Raises:
        LedgerError: if nothing would move, or the account has less than is to be paid back.
        BusError: if it cannot be stored now.
    """
    if amount_nano == 0:
        raise LedgerError("a deposit of nothing moves nothing: say how much")
    kind = "deposit" if amount_nano > 0 else "withdrawal"
    transaction_id = f"deposit:{reference}"
    written = False

    def compose(chain: ChainState, at_ms: int) -> AnyBillingEvent | None:
        nonlocal written
        if chain.has(transaction_id):
            return None
        there = books.state.balance(str(user(account)), currency)
        if amount_nano < 0 and there + amount_nano < 0:
            raise LedgerError(f"account {account} has {decimal_of(there)} {currency}: no more can be paid back")
        written = True
        transaction = Transaction(
            id=transaction_id,
            kind=kind,
            at_ms=at_ms,
            currency=currency,
            postings=(
                Posting(account=str(OUTSIDE), amount_nano=-amount_nano),
                Posting(account=str(user(account)), amount_nano=amount_nano),
            ),
            by=by,
            note=note,
        )
        return LedgerPosted(at_ms=at_ms, previous=chain.digest, transactions=(transaction,))

    await books.write(account_chain(account), compose, by_hand=True)
    return written


async def set_plan(
    books: Books,
    account: Token,
    *,
    kind: PlanKind,
    currency: str | None,
    limit_nano: int,
    monthly_nano: int | None,
    keys: tuple[KeyBudget, ...],
    by: str,
) -> None:
    """Say how an account pays from now on.

    Raises:
        BusError: if it cannot be stored now.
    """
    wanted = (kind, currency, limit_nano, monthly_nano, keys)

    def compose(chain: ChainState, at_ms: int) -> AnyBillingEvent | None:
        plan = chain.plan
        if plan is not None and (plan.kind, plan.currency, plan.limit_nano, plan.monthly_nano, plan.keys) == wanted:
            return None
        return PlanSet(
            at_ms=at_ms,
            previous=chain.digest,
            kind=kind,
            currency=currency,
            limit_nano=limit_nano,
            monthly_nano=monthly_nano,
            keys=keys,
            by=by,
        )

    await books.write(account_chain(account), compose, by_hand=True)


async def set_prices(
    books: Books,
    *,
    currency: str,
    rules: tuple[PriceRule, ...],
    fee_ppm: int,
    cached_answer_ppm: int,
    after_ms: int,
    by: str,
) -> PricesSet:
    """Write the next price list, which holds from ``after_ms`` on; at the soonest when the one before it does.

    Raises:
        BusError: if it cannot be stored now.
    """
    version: int | None = None

    def compose(chain: ChainState, at_ms: int) -> AnyBillingEvent | None:
        nonlocal version
        prices = books.state.prices
        if version is not None and (stored := prices.version(version)) is not None and stored.rules == rules:
            return None
        version = prices.newest_version + 1
        last = prices.version(prices.newest_version)
        return PricesSet(
            at_ms=at_ms,
            previous=chain.digest,
            version=version,
            effective_at_ms=max(at_ms, after_ms, 0 if last is None else last.effective_at_ms),
            currency=currency,
            rules=rules,
            fee_ppm=fee_ppm,
            cached_answer_ppm=cached_answer_ppm,
            by=by,
        )

    await books.write(book_chain("prices"), compose, by_hand=True)
    stored = books.state.prices.version(version or 0)
    if stored is None:
        raise LedgerError("another price list was written at the same moment: look at `ig3 prices list`, and repeat")
    return stored
