"""The books as the fold of BILLING: the same events give the same balances, wherever and whenever they are added up.

Events of one chain come in their order; those of different chains may come in any, since what they add to is a sum.
So a ledger may take in what it has written itself before it reads it in the stream.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from streams.billing.events import LedgerPosted, LedgerSuspended, PlanSet, PricesSet
from streams.billing.money import FEES, OUTSIDE, REWARDS, ROUNDING, SUSPENSE
from streams.billing.subjects import parse_chain
from streams.codec import decode_billing_event
from streams.errors import StreamsError
from streams.ledger.chain import ChainState, OpenHold
from streams.ledger.moves import transactions_of
from streams.ledger.prices import Prices
from streams.ledger.usage import UsageBook

if TYPE_CHECKING:
    from streams.billing.events import Transaction
    from streams.billing.log import AnyBillingEvent
    from streams.billing.subjects import Chain

MOST_FAULTS: Final = 1000
"""Faults that are remembered word for word; all are counted."""

FaultKind = Literal["unreadable", "broken_chain", "unbalanced", "repeated", "out_of_place"]


class Fault(Struct, frozen=True, kw_only=True):
    """An event of the books that is not as it must be, named so that somebody finds it."""

    sequence: int
    subject: str
    kind: FaultKind
    message: str


def digest_of_body(data: bytes) -> str:
    """Return what the next event of a chain names as ``previous``."""
    return hashlib.sha256(data).hexdigest()


class LedgerState:
    """What BILLING adds up to."""

    VERSION: Final = 2
    """Of the dumped form and of the fold: another one starts from the first event."""

    def __init__(self) -> None:
        """Begin with empty books."""
        self.chains: dict[str, ChainState] = {}
        self.balances: dict[tuple[str, str], int] = {}
        self.prices = Prices()
        self.usage = UsageBook()
        self.transactions = 0
        self.suspensions = 0
        self.fault_count = 0
        self.faults: list[Fault] = []

    def chain(self, subject: str) -> ChainState:
        """Return what a chain has come to; an empty one if nothing stands there."""
        found = self.chains.get(subject)
        if found is None:
            found = self.chains[subject] = ChainState()
        return found

    def balance(self, account: str, currency: str) -> int:
        """What an account of the books has, in nano."""
        return self.balances.get((account, currency), 0)

    def apply(
        self, sequence: int, subject: str, data: bytes, event: AnyBillingEvent | None = None
    ) -> AnyBillingEvent | None:
        """Take in one event; returns it, or None where it was taken in before or counts for nothing.

        ``event`` is what ``data`` says, where somebody has read it before.
        """
        try:
            chain = parse_chain(subject)
        except StreamsError as error:
            self._fault(sequence, subject, "out_of_place", str(error))
            return None
        state = self.chain(subject)
        if sequence <= state.last_sequence:
            return None
        last, before = state.last_sequence, state.digest
        state.last_sequence, state.digest = sequence, digest_of_body(data)
        try:
            event = event or decode_billing_event(data)
        except StreamsError as error:
            self._fault(sequence, subject, "unreadable", str(error))
            return None
        if event.previous != before:
            self._fault(last or sequence, subject, "broken_chain", _broken(sequence, last))
        state.advance_clock(event.at_ms)
        self._take(sequence, chain, state, event)
        return event

    def _take(self, sequence: int, chain: Chain, state: ChainState, event: AnyBillingEvent) -> None:
        match event:
            case LedgerPosted():
                for transaction in event.transactions:
                    self._post(sequence, chain, state, transaction)
            case LedgerSuspended():
                self.suspensions += 1
                self._post(sequence, chain, state, event.transaction)
            case PlanSet() if chain.kind == "billing":
                state.plan = event
            case PricesSet() if chain.name == "prices":
                if (why := self.prices.fault_of(event)) is not None:
                    self._fault(sequence, chain.subject, "out_of_place", why)
                else:
                    self.prices.take(event)
            case PlanSet() | PricesSet():
                self._fault(sequence, chain.subject, "out_of_place", f"{type(event).__name__} does not belong here")
            case _:
                # Of what rewards and payouts say twice, the first counts, as in their own folds.
                for transaction in transactions_of(event):
                    if not state.has(transaction.id):
                        self._post(sequence, chain, state, transaction)

    def _post(self, sequence: int, chain: Chain, state: ChainState, transaction: Transaction) -> None:
        if state.has(transaction.id):
            self._fault(sequence, chain.subject, "repeated", f"{transaction.id} stands there already")
            return
        if total := sum(posting.amount_nano for posting in transaction.postings):
            self._fault(sequence, chain.subject, "unbalanced", f"{transaction.id} adds up to {total}, not to nothing")
            return
        self.transactions += 1
        cost_nano, held_nano = self._move(chain, transaction)
        state.note(transaction.id)
        if transaction.hold is not None and transaction.task is not None:
            hold = OpenHold(
                amount_nano=held_nano, currency=transaction.currency, at_ms=transaction.at_ms, terms=transaction.hold
            )
            state.open_hold(transaction.task, hold)
        elif transaction.kind == "correction":
            self._correct(chain, state, transaction, cost_nano)
        elif transaction.kind == "suspense":
            state.suspend_hold(transaction.task or "")
        elif transaction.task is not None:
            state.close_hold(transaction.task, cost_nano)
        if transaction.used is not None:
            if transaction.kind == "cache_hit":
                state.spend(transaction, cost_nano, transaction.used.key)
            self.usage.take(chain.name, transaction, transaction.used, cost_nano)

    def _correct(self, chain: Chain, state: ChainState, transaction: Transaction, cost_nano: int) -> None:
        """What a correction keeps of what was held is charged on its own day, at the model and key of the hold."""
        hold = state.correct(transaction.task or "", -cost_nano)
        if hold is not None:
            self.usage.correct(chain.name, transaction, hold.terms, hold.amount_nano + cost_nano)

    def _move(self, chain: Chain, transaction: Transaction) -> tuple[int, int]:
        """Move the money; returns what it costs the chain's account, and what is put aside for it."""
        own, aside = f"user:{chain.name}", f"held:{chain.name}"
        cost_nano = held_nano = 0
        balances, currency = self.balances, transaction.currency
        for posting in transaction.postings:
            place = (posting.account, currency)
            balances[place] = balances.get(place, 0) + posting.amount_nano
            if posting.account == own:
                cost_nano -= posting.amount_nano
            elif posting.account == aside:
                held_nano += posting.amount_nano
        return cost_nano - held_nano, held_nano

    def _fault(self, sequence: int, subject: str, kind: FaultKind, message: str) -> None:
        self.fault_count += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(sequence=sequence, subject=subject, kind=kind, message=message))


PLAIN_ACCOUNTS: Final = tuple(str(account) for account in (FEES, ROUNDING, SUSPENSE, OUTSIDE, REWARDS))
"""Those that are nobody's own."""


def _broken(sequence: int, last: int) -> str:
    if last == 0:
        return "it follows another event of its chain, which is not there"
    return f"it was changed, or one behind it was removed, since event {sequence} was written behind it"
