"""An invoice: what an account was charged in a month (UTC), as the ledger has added it up."""

from __future__ import annotations

import calendar
import csv
import io
import re
from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.errors import GatewayError
from gateway.usage.buckets import currency_of
from gateway.usage.objects import Amount
from streams.billing.money import decimal_of
from streams.devices.replica import ModelKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.billing.messages import UsageRow

_MONTH: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes a text that begins with it for: names are written by others."""
_HEAD: Final = (
    *("account", "month", "model", "kind", "api_key_id", "tasks", "cached_answers"),
    *("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "amount", "currency", "corrections"),
)


class InvoiceLine(Struct, frozen=True, kw_only=True):
    """What was used of one model by one key, in one currency; or what corrections have charged for it."""

    model: str
    kind: ModelKind
    api_key_id: str | None
    tasks: int
    cached_answers: int
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    amount: Amount | None
    """None: it had no price."""
    corrections: int = 0
    """How many there were; such a line has nothing else but their amount."""


class Invoice(Struct, frozen=True, kw_only=True):
    """What an account was charged in a month."""

    account: str
    month: str
    lines: tuple[InvoiceLine, ...]
    total: tuple[Amount, ...]
    """In each currency."""


def days_of(month: str) -> tuple[str, str]:
    """Return the first and the last day of a month.

    Raises:
        GatewayError: if that is none.
    """
    found = _MONTH.fullmatch(month)
    year = 0 if found is None else int(found[1])
    if found is None or not date.min.year <= year:
        raise GatewayError(f"{month[:20]!r} is no month: write it as 2026-11")
    last = calendar.monthrange(year, int(found[2]))[1]
    return f"{month}-01", f"{month}-{last:02d}"


def invoice_of(account: str, month: str, rows: Iterable[UsageRow]) -> Invoice:
    """Add up the rows of a month's days."""
    groups: defaultdict[tuple[str, ModelKind, str, str, bool], list[UsageRow]] = defaultdict(list)
    totals: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        currency = currency_of(row)
        groups[row.model, row.kind, row.key or "", currency or "", row.corrections > 0].append(row)
        if currency is not None:
            totals[currency] += row.amount_nano
    return Invoice(
        account=account,
        month=month,
        lines=tuple(_line(groups[place]) for place in sorted(groups)),
        total=tuple(Amount(value=decimal_of(totals[name]), currency=name) for name in sorted(totals)),
    )


def csv_of(invoice: Invoice) -> str:
    """Write an invoice with a row for each line; the total is their sum, and stands in none."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(_HEAD)
    for line in invoice.lines:
        amount = ("", "") if line.amount is None else (line.amount.value, line.amount.currency)
        counts = (
            line.tasks,
            line.cached_answers,
            line.prompt_tokens,
            line.cached_prompt_tokens,
            line.completion_tokens,
        )
        names = (invoice.account, invoice.month, line.model, line.kind, line.api_key_id or "")
        writer.writerow((*map(_harmless, names), *counts, *amount, line.corrections))
    return written.getvalue()


def _line(rows: list[UsageRow]) -> InvoiceLine:
    first, currency = rows[0], currency_of(rows[0])
    amount = sum(row.amount_nano for row in rows)
    return InvoiceLine(
        model=first.model,
        kind=first.kind,
        api_key_id=first.key,
        tasks=sum(row.tasks for row in rows),
        cached_answers=sum(row.hits for row in rows),
        prompt_tokens=sum(row.prompt_tokens for row in rows),
        cached_prompt_tokens=sum(row.cached_prompt_tokens for row in rows),
        completion_tokens=sum(row.completion_tokens for row in rows),
        amount=None if currency is None else Amount(value=decimal_of(amount), currency=currency),
        corrections=sum(row.corrections for row in rows),
    )


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
