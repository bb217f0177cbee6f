"""What accounts have used, by day, model and key: a view that the books add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streams.billing.messages import MOST_ROWS, UsagePage, UsageRow
from streams.ledger.chain import day_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.billing.events import HoldTerms, Transaction, Used
    from streams.billing.money import Currency
    from streams.devices.replica import ModelKind


class UsageKey(NamedTuple):
    """What a row is of."""

    day: str
    model: str
    kind: ModelKind
    key: str
    """Empty: no key."""
    currency: Currency
    is_correction: bool = False
    """Of what a person has charged out of suspense, and not of use."""


class Tally:
    """What a row adds up to."""

    __slots__ = (
        *("amount_nano", "cached_prompt_tokens", "completion_tokens", "corrections", "hits", "prompt_tokens"),
        "tasks",
    )

    def __init__(self, *sums: int) -> None:
        """Begin with nothing, or with sums in the order of ``sums``."""
        (
            self.tasks,
            self.hits,
            self.prompt_tokens,
            self.cached_prompt_tokens,
            self.completion_tokens,
            self.amount_nano,
            self.corrections,
        ) = sums or (0, 0, 0, 0, 0, 0, 0)

    @property
    def sums(self) -> tuple[int, ...]:
        """All of it."""
        return (
            *(self.tasks, self.hits, self.prompt_tokens),
            *(self.cached_prompt_tokens, self.completion_tokens, self.amount_nano, self.corrections),
        )

    def take(self, transaction: Transaction, used: Used, cost_nano: int) -> None:
        """Add what was charged. Of an answer out of the response cache no token was generated again."""
        self.amount_nano += cost_nano
        if transaction.kind == "cache_hit":
            self.hits += used.times
            return
        self.tasks += 1
        self.prompt_tokens += used.prompt_tokens
        self.cached_prompt_tokens += used.cached_prompt_tokens
        self.completion_tokens += used.completion_tokens


class UsageBook:
    """Every account's rows."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._rows: dict[str, dict[UsageKey, Tally]] = {}

    def take(self, account: str, transaction: Transaction, used: Used, cost_nano: int) -> None:
        """Add what an account was charged."""
        place = UsageKey(day_of(transaction.at_ms), used.model, used.kind, used.key or "", transaction.currency)
        self._tally(account, place).take(transaction, used, cost_nano)

    def correct(self, account: str, transaction: Transaction, terms: HoldTerms, cost_nano: int) -> None:
        """Add what a correction has charged of what lay in suspense, on its own day: days that are over stay."""
        day = day_of(transaction.at_ms)
        place = UsageKey(day, terms.model, terms.kind, terms.key or "", transaction.currency, is_correction=True)
        tally = self._tally(account, place)
        tally.corrections += 1
        tally.amount_nano += cost_nano

    def _tally(self, account: str, place: UsageKey) -> Tally:
        rows = self._rows.setdefault(account, {})
        tally = rows.get(place)
        if tally is None:
            tally = rows[place] = Tally()
        return tally

    def put(self, account: str, place: UsageKey, tally: Tally) -> None:
        """Set a row to what it was when it was dumped."""
        self._rows.setdefault(account, {})[place] = tally

    def rows(self) -> Iterator[tuple[str, UsageKey, Tally]]:
        """Every row, in order."""
        for account in sorted(self._rows):
            for place in sorted(self._rows[account]):
                yield account, place, self._rows[account][place]

    def page(self, account: str, first_day: str, last_day: str, after: int = 0) -> UsagePage:
        """Return an account's rows of some days, both included, from the row ``after`` on."""
        rows = self._rows.get(account, {})
        places = sorted(place for place in rows if first_day <= place.day <= last_day)
        shown = places[after : after + MOST_ROWS]
        end = after + len(shown)
        return UsagePage(
            rows=tuple(_row(place, rows[place]) for place in shown), next_after=end if end < len(places) else None
        )


def _row(place: UsageKey, tally: Tally) -> UsageRow:
    return UsageRow(
        day=place.day,
        model=place.model,
        kind=place.kind,
        key=place.key or None,
        currency=place.currency,
        tasks=tally.tasks,
        hits=tally.hits,
        prompt_tokens=tally.prompt_tokens,
        cached_prompt_tokens=tally.cached_prompt_tokens,
        completion_tokens=tally.completion_tokens,
        amount_nano=tally.amount_nano,
        corrections=tally.corrections,
    )
