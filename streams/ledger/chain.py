"""What one chain of the books has come to: what was settled, what is held, what was spent, and how its account pays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from streams.billing.events import HoldTerms
from streams.billing.money import Currency

if TYPE_CHECKING:
    from streams.billing.events import PlanSet, Transaction

KEPT: Final = timedelta(days=40)
"""How long it is known of each task that it was settled; of an older one nothing is ever charged by itself."""

_MS: Final = 1000
_DAY_MS: Final = 86_400_000
_TASK_HEX: Final = 32
_TIME_BYTES: Final = 6
_LAST_MS: Final = 253_402_300_799_000
_MONTHS_KEPT: Final = 3
_SETTLES: Final = frozenset({"charge", "release"})


class OpenHold(Struct, frozen=True, kw_only=True):
    """What is put aside for a task that has not ended."""

    amount_nano: int
    currency: Currency
    at_ms: int
    terms: HoldTerms


class SpentKey(Struct, frozen=True, order=True):
    """Whose spending of which month; no ``key``: of the whole account."""

    month: str
    currency: Currency
    key: str | None = None


class ChainState:
    """The fold of one chain."""

    __slots__ = (
        *("at_ms", "digest", "forgotten_ms", "holds", "last_sequence", "others", "plan", "settled", "spent"),
        "suspended",
    )

    def __init__(self) -> None:
        """Begin with nothing."""
        self.last_sequence = 0
        self.digest = ""
        """SHA-256 of the body of its last event, in hex."""
        self.at_ms = 0
        """The latest time that an event of it has named: the clock never goes back."""
        self.settled: set[bytes] = set()
        self.forgotten_ms = 0
        """Tasks older than that may have been settled, and nobody knows."""
        self.others: set[str] = set()
        self.holds: dict[str, OpenHold] = {}
        self.suspended: dict[str, OpenHold] = {}
        """What was put aside for tasks that lie in suspense: it counts as spent until somebody corrects that."""
        self.spent: dict[SpentKey, int] = {}
        self.plan: PlanSet | None = None

    def has(self, transaction_id: str) -> bool:
        """Whether there is a transaction of this id."""
        kind, _, name = transaction_id.partition(":")
        task = task_bytes(name)
        if task is None or kind not in _SETTLES | {"hold"}:
            return transaction_id in self.others
        return task in self.settled or (kind == "hold" and name in self.holds)

    def is_settled(self, task: str) -> bool:
        """Whether a task was charged, released or suspended."""
        raw = task_bytes(task)
        return raw is not None and raw in self.settled

    def is_forgotten(self, task: str) -> bool:
        """Whether a task is so old that nobody knows any more whether it was settled."""
        raw = task_bytes(task)
        return raw is not None and task_ms(raw) < self.forgotten_ms

    def note(self, transaction_id: str) -> None:
        """Remember that there is a transaction of this id; holds are remembered by what they put aside."""
        kind, _, name = transaction_id.partition(":")
        task = task_bytes(name)
        if task is None or kind not in _SETTLES | {"hold"}:
            self.others.add(transaction_id)
        elif kind in _SETTLES:
            self.settled.add(task)

    def open_hold(self, task: str, hold: OpenHold) -> None:
        """Put aside what a task may cost; it counts as spent until it is settled."""
        self.holds[task] = hold
        self._spend(hold, hold.amount_nano)

    def close_hold(self, task: str, cost_nano: int) -> None:
        """End what was put aside for a task, of which ``cost_nano`` was spent, in the month of the hold."""
        hold = self.holds.pop(task, None)
        if hold is not None:
            self._spend(hold, cost_nano - hold.amount_nano)

    def suspend_hold(self, task: str) -> None:
        """What was put aside for a task lies in suspense: all of it stays spent."""
        hold = self.holds.pop(task, None)
        if hold is not None and hold.amount_nano:
            self.suspended[task] = hold

    def correct(self, task: str, back_nano: int) -> OpenHold | None:
        """Of what lies in suspense for a task ``back_nano`` was given back: in the month of its hold it is not spent.

        Returns what was held; None: nothing lies there for it.
        """
        hold = self.suspended.pop(task, None)
        if hold is not None:
            self._spend(hold, -back_nano)
        return hold

    def spend(self, transaction: Transaction, cost_nano: int, key: str | None) -> None:
        """Count what was spent without a hold."""
        self._count(month_of(transaction.at_ms), transaction.currency, key, cost_nano)

    def spent_nano(self, month: str, currency: Currency, key: str | None = None) -> int:
        """What was spent in a month, or is put aside; of one key, or of the whole account."""
        return self.spent.get(SpentKey(month, currency, key), 0)

    def advance_clock(self, at_ms: int) -> None:
        """Take note of the time of an event; when a month begins, what is too old to come again is forgotten."""
        if at_ms <= self.at_ms:
            return
        is_new_month = self.at_ms > 0 and month_of(at_ms) != month_of(self.at_ms)
        self.at_ms = at_ms
        if is_new_month:
            self._forget()

    def _spend(self, hold: OpenHold, change_nano: int) -> None:
        self._count(month_of(hold.at_ms), hold.currency, hold.terms.key, change_nano)

    def _count(self, month: str, currency: Currency, key: str | None, change_nano: int) -> None:
        if change_nano == 0:
            return
        for whose in {None, key}:
            place = SpentKey(month, currency, whose)
            self.spent[place] = self.spent.get(place, 0) + change_nano

    def _forget(self) -> None:
        self.forgotten_ms = max(self.forgotten_ms, self.at_ms - round(KEPT.total_seconds() * _MS))
        self.settled = {task for task in self.settled if task_ms(task) >= self.forgotten_ms}
        months = sorted({place.month for place in self.spent})[-_MONTHS_KEPT:]
        self.spent = {place: amount for place, amount in self.spent.items() if place.month in months}


def task_bytes(text: str) -> bytes | None:
    """Return a task id as bytes, or None if it is none."""
    if len(text) != _TASK_HEX:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def task_ms(task: bytes) -> int:
    """When a task was made, by its id (UUIDv7, RFC 9562), in Unix milliseconds."""
    return int.from_bytes(task[:_TIME_BYTES])


def day_of(at_ms: int) -> str:
    """The day of a moment in UTC: ``2026-11-28``."""
    return _day(min(max(at_ms, 0), _LAST_MS) // _DAY_MS)


def month_of(at_ms: int) -> str:
    """The month of a moment in UTC: ``2026-11``."""
    return day_of(at_ms)[:7]


@lru_cache(maxsize=4096)
def _day(number: int) -> str:
    """The name of a day since 1970: entries of the same days come by the million."""
    return datetime.fromtimestamp(number * _DAY_MS / _MS, UTC).strftime("%Y-%m-%d")
