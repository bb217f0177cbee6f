"""The transactions that events of rewards and payouts stand for: they follow from the event, which repeats nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.billing.events import Posting, Transaction
from streams.billing.money import OUTSIDE, REWARDS, LedgerAccount, node
from streams.payouts.events import PayoutConfirmed, PayoutFailed, PayoutRequested
from streams.rewards.events import RewardGranted

if TYPE_CHECKING:
    from streams.billing.events import TransactionKind
    from streams.billing.log import AnyBillingEvent

    Sides = tuple[LedgerAccount, LedgerAccount]
    """Who gives, and who gets."""


def transactions_of(event: AnyBillingEvent) -> tuple[Transaction, ...]:
    """Return what an event of ``books.rewards`` or ``books.payouts`` moves; nothing for one that moves nothing.

    An id names the epoch and the node, or the payout and what became of it: so nothing is ever given twice.
    """
    match event:
        case RewardGranted():
            return _granted(event)
        case PayoutRequested():
            return (_payout(event, f"payout:{event.payout}", (node(event.node), _paying(event))),)
        case PayoutConfirmed():
            return (_payout(event, f"payout-over:{event.payout}", (_paying(event), OUTSIDE)),)
        case PayoutFailed():
            return (_payout(event, f"payout-over:{event.payout}", (_paying(event), node(event.node))),)
        case _:
            return ()


def _granted(event: RewardGranted) -> tuple[Transaction, ...]:
    transactions: list[Transaction] = []
    for each in event.rewards:
        if not each.amount_nano:
            continue
        postings = _postings((REWARDS, node(each.node)), each.amount_nano)
        name = f"reward:{event.epoch}:{each.node}"
        transactions.append(_transaction(name, "reward", event.at_ms, event.currency, postings))
    return tuple(transactions)


def _payout(event: PayoutRequested | PayoutConfirmed | PayoutFailed, name: str, sides: Sides) -> Transaction:
    return _transaction(name, "payout", event.at_ms, event.currency, _postings(sides, event.amount_nano))


def _transaction(
    name: str, kind: TransactionKind, at_ms: int, currency: str, postings: tuple[Posting, ...]
) -> Transaction:
    return Transaction(id=name, kind=kind, at_ms=at_ms, currency=currency, postings=postings)


def _postings(sides: Sides, amount_nano: int) -> tuple[Posting, ...]:
    source, target = sides
    return (
        Posting(account=str(source), amount_nano=-amount_nano),
        Posting(account=str(target), amount_nano=amount_nano),
    )


def _paying(event: PayoutRequested | PayoutConfirmed | PayoutFailed) -> LedgerAccount:
    return LedgerAccount("paying", event.node)
