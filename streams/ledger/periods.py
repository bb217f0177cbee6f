"""Months of the books that are over: what closes them, and whether they still are what was closed."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from streams.billing.events import PeriodSealed, Total
from streams.errors import InvalidPeriod
from streams.ledger.chain import month_of
from streams.ledger.fold import PLAIN_ACCOUNTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.ledger.fold import LedgerState

_MS: Final = 1000
_MOST_TOTALS: Final = 64
_A_MONTH_AND_SOME: Final = timedelta(days=32)


class OpenPeriod:
    """A period as it is added up, beside the fold of the books."""

    def __init__(self, state: LedgerState, first_sequence: int) -> None:
        """Begin with nothing; ``state`` is what the books have come to before ``first_sequence``."""
        self._state = state
        self._first = first_sequence
        self._last = first_sequence - 1
        self._transactions_before = state.transactions
        self._events = 0
        self._hash = hashlib.sha256()

    def take(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in the next event."""
        self._hash.update(digested(sequence, subject, data))
        self._events += 1
        self._last = sequence

    def seal(self, period: str, *, at_ms: int, last_sequence: int | None = None) -> PeriodSealed:
        """Close it behind the last event; behind ``last_sequence``, where it is known where it must end."""
        return PeriodSealed(
            at_ms=at_ms,
            period=period,
            first_sequence=self._first,
            last_sequence=self._last if last_sequence is None else last_sequence,
            events=self._events,
            transactions=self._state.transactions - self._transactions_before,
            digest=self._hash.hexdigest(),
            totals_digest=totals_digest(self._state),
            totals=_totals(self._state),
        )


class SealedPeriods:
    """Compares what was sealed with the log, as it is folded."""

    def __init__(self, state: LedgerState, seals: Iterable[PeriodSealed], *, after: int = 0) -> None:
        """Begin behind the sequence ``after``, with ``state`` as it is there; what began before it is left out."""
        self._state = state
        self._seals = [seal for seal in seals if seal.first_sequence > after]
        self._open: OpenPeriod | None = None
        self._next = 0
        self.compared = 0

    def take(self, sequence: int, subject: str, data: bytes) -> list[str]:
        """Take in the next event, before the fold does; returns what is wrong with the seals of what ends before it."""
        faults = self._close(sequence)
        if self._next < len(self._seals):
            seal = self._seals[self._next]
            if sequence >= seal.first_sequence:
                self._open = self._open or OpenPeriod(self._state, seal.first_sequence)
                self._open.take(sequence, subject, data)
        return faults

    def end(self) -> list[str]:
        """There are no more events."""
        return self._close(None)

    def _close(self, sequence: int | None) -> list[str]:
        faults: list[str] = []
        while self._next < len(self._seals):
            seal = self._seals[self._next]
            if sequence is not None and sequence <= seal.last_sequence:
                break
            period = self._open or OpenPeriod(self._state, seal.first_sequence)
            again = period.seal(seal.period, at_ms=seal.at_ms, last_sequence=seal.last_sequence)
            faults += [f"{seal.period}: {name} is not what was sealed" for name in _differing(seal, again)]
            self._open = None
            self._next += 1
            self.compared += 1
        return faults


def digested(sequence: int, subject: str, data: bytes) -> bytes:
    """Return what an event adds to the digest of its period: sequence, subject and body, each with its length."""
    name = subject.encode()
    return b"".join(
        (sequence.to_bytes(8), len(name).to_bytes(2), name, len(data).to_bytes(4), data),
    )


def totals_digest(state: LedgerState) -> str:
    """Return SHA-256 over a line ``account currency nano`` for every account that has something, in order."""
    lines = (
        f"{account} {currency} {amount}\n" for (account, currency), amount in sorted(state.balances.items()) if amount
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def out_of_order(seals: Iterable[PeriodSealed]) -> list[str]:
    """Name each seal that does not follow the one before it."""
    faults: list[str] = []
    before: PeriodSealed | None = None
    for seal in seals:
        if before is not None and (seal.period, seal.first_sequence) != (
            month_after(before.period),
            before.last_sequence + 1,
        ):
            faults.append(
                f"{seal.period} was sealed from event {seal.first_sequence} on, and does not follow {before.period}"
            )
        before = seal
    return faults


def months_due(first: str, seals: Sequence[PeriodSealed], last: str) -> list[str]:
    """Return the months that are not sealed, in their order, up to ``last``; ``first`` is that of the first event."""
    period = month_after(seals[-1].period) if seals else first
    found: list[str] = []
    while period <= last:
        found.append(period)
        period = month_after(period)
    return found


def ends_ms(period: str) -> int:
    """When a month is over (UTC), in Unix milliseconds.

    Raises:
        InvalidPeriod: if it is no month.
    """
    return _begins(month_after(period))


def month_after(period: str) -> str:
    """Return the month behind a month.

    Raises:
        InvalidPeriod: if it is no month.
    """
    return month_of(_begins(period) + _A_MONTH_AND_SOME // timedelta(milliseconds=1))


def month_before(at_ms: int) -> str:
    """Return the last month that is over at a moment."""
    return month_of(_begins(month_of(at_ms)) - 1)


def _begins(period: str) -> int:
    try:
        began = datetime.strptime(period, "%Y-%m").replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidPeriod(f"{period[:20]!r} is no month: write 2026-11") from error
    if f"{began:%Y-%m}" != period:
        raise InvalidPeriod(f"{period[:20]!r} is no month: write {began:%Y-%m}")
    return int(began.timestamp()) * _MS


def _totals(state: LedgerState) -> tuple[Total, ...]:
    found = (
        Total(account=account, currency=currency, amount_nano=amount)
        for (account, currency), amount in sorted(state.balances.items())
        if account in PLAIN_ACCOUNTS and amount
    )
    return tuple(found)[:_MOST_TOTALS]


def _differing(sealed: PeriodSealed, again: PeriodSealed) -> list[str]:
    """Which fields of a seal the log does not bear out."""
    compared = replace(again, at_ms=sealed.at_ms, previous=sealed.previous)
    return [name for name in PeriodSealed.__struct_fields__ if getattr(sealed, name) != getattr(compared, name)]
