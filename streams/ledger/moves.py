"""What rewards and payouts move between accounts of the books: their events say amounts, and no transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streams.money import OUTSIDE, REWARDS, LedgerAccount, node
from streams.payout_events import PayoutConfirmed, PayoutFailed, PayoutRequested
from streams.reward_events import RewardsGranted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.billing_log import AnyBillingEvent


class Move(NamedTuple):
    """An amount that goes from one account to another; the first of an id counts."""

    id: str
    source: LedgerAccount
    target: LedgerAccount
    currency: str
    amount_nano: int


def moves_of(event: AnyBillingEvent) -> Iterator[Move]:
    """Yield what an event about rewards or payouts moves; nothing for any other."""
    match event:
        case RewardsGranted():
            for each in event.rewards:
                amount = each.base_nano + each.bonus_nano
                yield Move(f"reward:{event.epoch}:{each.node}", REWARDS, node(each.node), event.currency, amount)
        case PayoutRequested():
            paying = LedgerAccount("paying", event.node)
            yield Move(f"payout:{event.payout}", node(event.node), paying, event.currency, event.amount_nano)
        case PayoutConfirmed() | PayoutFailed():
            # It ends one way only.
            target = OUTSIDE if isinstance(event, PayoutConfirmed) else node(event.node)
            paying = LedgerAccount("paying", event.node)
            yield Move(f"payout-over:{event.payout}", paying, target, event.currency, event.amount_nano)
        case _:
            return
