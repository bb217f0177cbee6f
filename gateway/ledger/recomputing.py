"""The books made anew from the first event, and each charge from the end that it is for; each difference is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from streams.billing.events import LedgerPosted
from streams.billing.subjects import book_chain, parse_chain
from streams.codec import decode_billing_event, decode_end_event
from streams.digest import digest_of
from streams.errors import StreamsError
from streams.ledger.chain import task_bytes
from streams.ledger.charging import settle
from streams.ledger.corrections import SuspenseBook
from streams.ledger.dump import dump
from streams.ledger.fold import LedgerState
from streams.ledger.holding import floor_nano
from streams.ledger.periods import SealedPeriods, out_of_order
from streams.subjects import TaskKey
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.billing.events import PeriodSealed, Transaction
    from streams.billing.log import AnyBillingEvent

MOST_NAMED: Final = 1000
"""Differences that are named; all are counted."""


SEALED: Final = book_chain("sealed").subject
"""Where it stands what was sealed."""


class Difference(Struct, frozen=True, kw_only=True):
    """Something that is not as it must be."""

    where: str
    """Which event, account, task, snapshot or ledger."""
    detail: str


class Ends:
    """Ends of tasks as ENDED has them, by task; what is left over was never settled."""

    def __init__(self) -> None:
        """Begin with none."""
        self.bodies: dict[tuple[str, bytes], tuple[int, bytes]] = {}
        self.compared = 0

    def add(self, key: TaskKey, sequence: int, body: bytes) -> None:
        """Take one in, with where it stands."""
        task = task_bytes(key.task)
        if task is not None:
            self.bodies[key.account, task] = sequence, body

    def take(self, account: str, task: str) -> bytes | None:
        """Return the end of a task, once."""
        raw = task_bytes(task)
        found = None if raw is None else self.bodies.pop((account, raw), None)
        return None if found is None else found[1]


class Recomputing:
    """Folds the books once more, event by event."""

    def __init__(self, ends: Ends, claims: Iterable[int] = (), *, is_whole: bool = True) -> None:
        """Compare with ``ends``; note the digest of the state at each of the sequences ``claims``.

        ``is_whole``: the first event that it will be given is the first of all.
        """
        self.state = LedgerState()
        self.digests: dict[int, str] = {}
        self.events = 0
        self.differences: list[Difference] = []
        self._ends = ends
        self._periods = SealedPeriods(self.state, ())
        self._suspense = SuspenseBook() if is_whole else None
        self._claims = sorted(set(claims), reverse=True)

    @property
    def seals_compared(self) -> int:
        """Months that were compared with their seals."""
        return self._periods.compared

    def expect(self, seals: tuple[PeriodSealed, ...], *, after: int) -> None:
        """Compare sealed months with the events, of which the first follows the sequence ``after``."""
        self._name(out_of_order(seals))
        self._periods = SealedPeriods(self.state, seals, after=after)

    def take(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in the next event."""
        while self._claims and self._claims[-1] < sequence:
            self.note_digest(self._claims.pop())
        self.events += 1
        self._name(self._periods.take(sequence, subject, data))
        event = self._compare(sequence, subject, data)
        self.state.apply(sequence, subject, data, event)

    def end(self) -> None:
        """There are no more."""
        while self._claims:
            self.note_digest(self._claims.pop())
        self._name(self._periods.end())
        for fault in self.state.faults:
            self.differ(f"event {fault.sequence} ({fault.subject})", f"{fault.kind}: {fault.message}")
        for (account, currency), amount in sorted(self.state.balances.items()):
            kind, _, name = account.partition(":")
            chain = self.state.chains.get(f"billing.{name}")
            floor = floor_nano(None if chain is None else chain.plan) if kind == "user" else 0
            if kind in {"user", "held", "node", "paying"} and amount < floor:
                self.differ(account, f"has {amount} nano {currency}, which is below its floor of {floor}")

    def note_digest(self, sequence: int) -> None:
        """Remember what the books have come to at a sequence."""
        self.digests[sequence] = digest_of(dump(self.state))

    def differ(self, where: str, detail: str) -> None:
        """Name a difference."""
        if len(self.differences) < MOST_NAMED:
            self.differences.append(Difference(where=where, detail=detail))

    def _name(self, faults: list[str]) -> None:
        for fault in faults:
            self.differ(SEALED, fault)

    def _compare(self, sequence: int, subject: str, data: bytes) -> AnyBillingEvent | None:
        try:
            chain, event = parse_chain(subject), decode_billing_event(data)
        except StreamsError:
            # The fold names it.
            return None
        for fault in [] if self._suspense is None else self._suspense.take(sequence, chain, event):
            self.differ(f"event {sequence} ({subject})", fault)
        if isinstance(event, LedgerPosted) and chain.kind == "billing":
            for transaction in event.transactions:
                if transaction.kind == "charge":
                    self._compare_charge(sequence, chain.name, transaction)
                elif transaction.kind == "release" and self._ends.take(chain.name, transaction.task or ""):
                    why = "what was held for it was given back as if it never ended, and there is its end"
                    self.differ(f"event {sequence}, task {transaction.task}", why)
        return event

    def _compare_charge(self, sequence: int, account: Token, charge: Transaction) -> None:
        body = self._ends.take(account, charge.task or "")
        if body is None:
            return
        self._ends.compared += 1
        key = TaskKey(account, Token(charge.task or ""))
        hold = self.state.chain(f"billing.{account}").holds.get(key.task)
        try:
            end = decode_end_event(body)
        except StreamsError as error:
            self.differ(f"event {sequence}, task {key.task}", f"it was charged, and its end cannot be read: {error}")
            return
        again = settle(key, end, hold, self.state.prices, at_ms=charge.at_ms)
        if again.code is not None:
            why = f"it was charged, and its end says {again.code}: {again.message}"
            self.differ(f"event {sequence}, task {key.task}", why)
        elif again.transaction != replace(charge, by="", note=""):
            why = "what was charged is not what its end in ENDED comes to by the prices of its hold"
            self.differ(f"event {sequence}, task {key.task}", why)
