"""Closed months: the hash over all events of the books up to a sequence, and what they add up to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from streams.billing_events import PeriodSealed, Total
from streams.ledger.fold import PLAIN_ACCOUNTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.ledger.fold import LedgerState


class EventHash:
    """SHA-256 over sequence, subject and body of events, each with its length, so that none can pass for another."""

    def __init__(self) -> None:
        """Begin with no event."""
        self._hash = hashlib.sha256()
        self.events = 0
        self.first_sequence = 0
        self.last_sequence = 0

    def take(self, sequence: int, subject: str, data: bytes) -> None:
        """Add the next event."""
        name = subject.encode()
        self._hash.update(sequence.to_bytes(8) + len(name).to_bytes(2) + name + len(data).to_bytes(4) + data)
        self.first_sequence = self.first_sequence or sequence
        self.last_sequence = sequence
        self.events += 1

    def hexdigest(self) -> str:
        """The hash so far."""
        return self._hash.hexdigest()


def totals_digest(balances: Mapping[tuple[str, str], int]) -> str:
    """Return a hash over what every account of the books has."""
    found = hashlib.sha256()
    for (account, currency), amount in sorted(balances.items()):
        if amount:
            found.update(f"{account} {currency} {amount}\n".encode())
    return found.hexdigest()


def sealed(
    period: str, events: EventHash, state: LedgerState, *, transactions: int, at_ms: int, previous: str
) -> PeriodSealed:
    """Return the event that closes a month.

    Args:
        period: the month.
        events: the hash over its events.
        state: the books behind the last of them.
        transactions: how many they hold.
        at_ms: the time of the sealing.
        previous: the digest of the event before it on the chain.
    """
    return PeriodSealed(
        at_ms=at_ms,
        previous=previous,
        period=period,
        first_sequence=events.first_sequence,
        last_sequence=events.last_sequence,
        events=events.events,
        transactions=transactions,
        digest=events.hexdigest(),
        totals_digest=totals_digest(state.balances),
        totals=tuple(
            Total(account=account, currency=currency, amount_nano=amount)
            for (account, currency), amount in sorted(state.balances.items())
            if account in PLAIN_ACCOUNTS and amount
        ),
    )
