"""What ``books.payouts`` adds up to: where nodes are paid, and what became of each payout."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from streams.payouts.events import (
    PayoutConfirmed,
    PayoutDestinationSet,
    PayoutFailed,
    PayoutPolicySet,
    PayoutReplaced,
    PayoutRequested,
    PayoutSent,
)
from streams.payouts.payout import Payout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.billing.log import AnyBillingEvent
    from streams.payouts.payout import DriverName
    from streams.tokens import Token


class PayoutState(StrEnum):
    """Where a payout stands. Only forwards."""

    PENDING = "pending"
    SENT = "sent"
    """What is handed over is settled; it may have left, and it may have arrived."""
    CONFIRMED = "confirmed"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow."""
        return self in (PayoutState.CONFIRMED, PayoutState.FAILED)


class PayoutRecord(Struct, frozen=True, kw_only=True):
    """A payout and what became of it."""

    payout: Payout
    state: PayoutState
    requested_at_ms: int
    changed_at_ms: int
    sent: PayoutSent | None = None
    replacements: tuple[PayoutReplaced, ...] = ()
    """What was handed over in the place of ``sent`` since, the newest last."""
    detail: str = ""


class Asked(NamedTuple):
    """How often payouts of a node in a currency were requested, and when last, by the clock of whoever did."""

    times: int = 0
    at_ms: int = 0


class PayoutBook:
    """The fold. What does not follow from what stands before counts for nothing."""

    def __init__(self, events: Iterable[AnyBillingEvent] = ()) -> None:
        """Fold ``events``, in their order."""
        self.destinations: dict[Token, PayoutDestinationSet] = {}
        self.records: dict[str, PayoutRecord] = {}
        self.policies: dict[tuple[Token | None, str], PayoutPolicySet] = {}
        """By node (None: all for which nothing else was said) and currency."""
        self._asked: dict[tuple[Token, str], Asked] = {}
        for event in events:
            self.apply(event)

    def apply(self, event: AnyBillingEvent) -> None:
        """Fold one event; those of other kinds are passed over."""
        match event:
            case PayoutDestinationSet():
                self.destinations[event.node] = event
            case PayoutPolicySet():
                self.policies[event.node, event.currency] = event
            case PayoutRequested():
                self._request(event)
            case PayoutSent():
                self._move(event.payout, PayoutState.PENDING, PayoutState.SENT, event.at_ms, sent=event)
            case PayoutReplaced():
                self._replace(event)
            case PayoutConfirmed():
                self._move(event.payout, PayoutState.SENT, PayoutState.CONFIRMED, event.at_ms, detail=event.detail)
            case PayoutFailed():
                self._move(event.payout, PayoutState.SENT, PayoutState.FAILED, event.at_ms, detail=event.detail)
            case _:
                return

    def asked(self, node: Token, currency: str) -> Asked:
        """How often payouts of a node were requested in a currency, and when last."""
        return self._asked.get((node, currency), Asked())

    def due_nano(self, node: Token, currency: str, balance_nano: int, *, now_ms: int) -> int:
        """How much is to be requested of what a node has, by what was said for it; 0: nothing now."""
        policy = self.policies.get((node, currency)) or self.policies.get((None, currency))
        destination = self.destinations.get(node)
        if policy is None or destination is None or not policy.is_on:
            return 0
        if policy.driver not in (None, destination.driver):
            return 0
        asked = self.asked(node, currency)
        # A request that lies further ahead than one may follow another was made by a clock that was wrong.
        if asked.times and abs(now_ms - asked.at_ms) < policy.every_ms:
            return 0
        amount = max(0, balance_nano) // policy.step_nano * policy.step_nano
        return amount if amount >= policy.least_nano else 0

    def open(self, driver: DriverName) -> tuple[PayoutRecord, ...]:
        """The payouts of a driver that are not over, in the order in which they were requested."""
        return tuple(each for each in self.records.values() if each.payout.driver == driver and not each.state.is_over)

    def underway(self, driver: DriverName) -> tuple[int, ...]:
        """The places, in the order of the paying account's transactions, of what is sent and not over."""
        places = (each.sent.place for each in self.open(driver) if each.sent is not None)
        return tuple(place for place in places if place is not None)

    def _request(self, event: PayoutRequested) -> None:
        if event.payout in self.records:
            return
        self.records[event.payout] = _requested(event)
        before = self.asked(event.node, event.currency)
        self._asked[event.node, event.currency] = Asked(before.times + 1, event.at_ms)

    def _replace(self, event: PayoutReplaced) -> None:
        record = self.records.get(event.payout)
        if record is not None and record.state is PayoutState.SENT:
            replacements = (*record.replacements, event)
            self.records[event.payout] = replace(record, changed_at_ms=event.at_ms, replacements=replacements)

    def _move(
        self,
        name: str,
        before: PayoutState,
        after: PayoutState,
        at_ms: int,
        *,
        sent: PayoutSent | None = None,
        detail: str = "",
    ) -> None:
        record = self.records.get(name)
        if record is not None and record.state is before:
            self.records[name] = replace(
                record, state=after, changed_at_ms=at_ms, sent=sent or record.sent, detail=detail
            )


def _requested(event: PayoutRequested) -> PayoutRecord:
    payout = Payout(
        id=event.payout,
        node=event.node,
        amount_nano=event.amount_nano,
        currency=event.currency,
        driver=event.driver,
        address=event.address,
    )
    return PayoutRecord(
        payout=payout, state=PayoutState.PENDING, requested_at_ms=event.at_ms, changed_at_ms=event.at_ms
    )
