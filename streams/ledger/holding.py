"""Whether a task may be accepted, by what its account has: what is put aside for it, or why it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.billing.events import HoldTerms, Posting, Transaction
from streams.billing.messages import Held, HoldRefused
from streams.billing.money import MOST_NANO, decimal_of, held, user
from streams.ledger.chain import month_of, task_bytes
from streams.ledger.charging import NO_CURRENCY
from streams.ledger.prices import Work, most_nano
from streams.tokens import Token

if TYPE_CHECKING:
    from streams.billing.events import PlanSet, PricesSet
    from streams.billing.messages import HoldRefusalCode, HoldWanted
    from streams.ledger.chain import ChainState, OpenHold
    from streams.ledger.fold import LedgerState


class Taken:
    """What the holds of one write take of an account, before that is in the books."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.holds: dict[str, Transaction] = {}
        self._sums: dict[tuple[str, str | None], int] = {}

    def add(self, hold: Transaction, amount_nano: int) -> None:
        """Count one more."""
        if hold.task is None or hold.hold is None:
            return
        self.holds[hold.task] = hold
        for key in {None, hold.hold.key}:
            self._sums[hold.currency, key] = self.sum(hold.currency, key) + amount_nano

    def sum(self, currency: str, key: str | None = None) -> int:
        """What they take, of one key, or of the whole account."""
        return self._sums.get((currency, key), 0)


def decide(
    state: LedgerState, chain: ChainState, want: HoldWanted, taken: Taken, *, at_ms: int
) -> Transaction | Held | HoldRefused:
    """Return the transaction that puts aside what a task may cost; or what is to be answered without one.

    Args:
        state: the books.
        chain: what the account's chain has come to.
        want: what is asked.
        taken: what was decided for the same write before this; it is added to.
        at_ms: the ledger's time.
    """
    if (same := taken.holds.get(want.task)) is not None:
        return same
    if (standing := chain.holds.get(want.task)) is not None:
        return held_of(want.task, standing)
    if task_bytes(want.task) is None or chain.is_settled(want.task) or chain.is_forgotten(want.task):
        return _refused(want, "already_charged", 409, "the task has ended and was charged: use a new id")
    prices = state.prices.at(at_ms)
    if prices is None:
        return Held(task=want.task)
    plan = chain.plan
    if plan is not None and plan.kind == "free":
        return _hold(want, taken, 0, 0, NO_CURRENCY, at_ms)
    if plan is not None and plan.currency not in (None, prices.currency):
        message = f"the account pays in {plan.currency}, and prices are in {prices.currency}: the operator must set one"
        return _refused(want, "currency_mismatch", 402, message)
    work = Work(want.kind, want.prompt_tokens_most, 0, want.completion_tokens_most)
    amount = most_nano(prices, (want.model, *want.others), want.tier, work)
    if amount is None:
        return _refused(want, "no_price", 404, f"the model {want.model[:100]} has no price here")
    refusal = _beyond(state, chain, want, taken, prices, amount, at_ms)
    return _hold(want, taken, amount, prices.version, prices.currency, at_ms) if refusal is None else refusal


def held_of(task: str, hold: OpenHold) -> Held:
    """Return the answer about what is put aside."""
    return Held(
        task=task,
        price_version=hold.terms.price_version,
        currency=hold.currency,
        amount_nano=hold.amount_nano,
    )


def floor_nano(plan: PlanSet | None) -> int:
    """How far down an account may go: 0, or below where it pays afterwards."""
    return -plan.limit_nano if plan is not None and plan.kind == "postpaid" else 0


def _beyond(
    state: LedgerState,
    chain: ChainState,
    want: HoldWanted,
    taken: Taken,
    prices: PricesSet,
    amount: int,
    at_ms: int,
) -> HoldRefused | None:
    currency, plan = prices.currency, chain.plan
    there = state.balance(str(user(Token(want.account))), currency) - floor_nano(plan) - taken.sum(currency)
    if amount > there or amount > MOST_NANO:
        message = (
            f"the account has {decimal_of(max(there, 0))} {currency}, and this may cost {_shown(amount)}: "
            "pay in, or ask for less (max_tokens)"
        )
        return _refused(want, "insufficient_quota", 402, message)
    month = month_of(at_ms)
    for key, budget in _budgets(plan, want.key):
        left = budget - chain.spent_nano(month, currency, key) - taken.sum(currency, key)
        if amount > left:
            whose = "the account's" if key is None else "the key's"
            message = (
                f"{whose} budget for {month} has {decimal_of(max(left, 0))} {currency} left, and this may cost "
                f"{_shown(amount)}: wait for the next month (UTC), or ask for less (max_tokens)"
            )
            return _refused(want, "budget_exceeded", 429, message)
    return None


def _budgets(plan: PlanSet | None, key: str | None) -> list[tuple[str | None, int]]:
    if plan is None:
        return []
    own = [] if plan.monthly_nano is None else [(None, plan.monthly_nano)]
    return [*own, *((each.key, each.monthly_nano) for each in plan.keys if each.key == key)]


def _shown(amount: int) -> str:
    return decimal_of(amount) if amount <= MOST_NANO else f"more than {decimal_of(MOST_NANO)}"


def _hold(want: HoldWanted, taken: Taken, amount: int, version: int, currency: str, at_ms: int) -> Transaction:
    account = Token(want.account)
    postings = (
        Posting(account=str(user(account)), amount_nano=-amount),
        Posting(account=str(held(account)), amount_nano=amount),
    )
    hold = Transaction(
        id=f"hold:{want.task}",
        kind="hold",
        at_ms=at_ms,
        currency=currency,
        postings=postings if amount else (),
        task=want.task,
        hold=HoldTerms(
            price_version=version,
            model=want.model,
            kind=want.kind,
            tier=want.tier,
            key=want.key,
            prompt_tokens_most=want.prompt_tokens_most,
            completion_tokens_most=want.completion_tokens_most,
        ),
    )
    taken.add(hold, amount)
    return hold


def held_by(hold: Transaction) -> Held:
    """Return the answer about what a transaction puts aside."""
    amount = sum(posting.amount_nano for posting in hold.postings if posting.amount_nano > 0)
    version = 0 if hold.hold is None else hold.hold.price_version
    return Held(task=hold.task or "", price_version=version, currency=hold.currency, amount_nano=amount)


def _refused(want: HoldWanted, code: HoldRefusalCode, status: int, message: str) -> HoldRefused:
    return HoldRefused(task=want.task, code=code, status=status, message=message[:512])
