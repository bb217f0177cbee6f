"""All that BILLING may hold: the events of the ledger, of rewards and of payouts."""

from __future__ import annotations

from streams.billing_events import LedgerEvent
from streams.payout_events import PayoutEvent
from streams.reward_events import RewardEvent

AnyBillingEvent = LedgerEvent | RewardEvent | PayoutEvent
"""All that BILLING may hold."""
