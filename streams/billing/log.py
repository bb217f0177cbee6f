"""All that BILLING may hold: the events of the ledger, of rewards and of payouts."""

from __future__ import annotations

from streams.billing.events import LedgerEvent
from streams.payouts.events import PayoutEvent
from streams.rewards.events import RewardEvent

AnyBillingEvent = LedgerEvent | RewardEvent | PayoutEvent
"""All that BILLING may hold."""
