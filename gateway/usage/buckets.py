"""Adding up the ledger's rows by what a request groups them by."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.usage.objects import Amount, CostBucket, CostList, CostResult, UsageBucket, UsageList, UsageResult
from gateway.usage.query import DAY
from streams.billing.money import decimal_of
from streams.ledger.charging import NO_CURRENCY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gateway.usage.objects import UsageObject
    from gateway.usage.query import UsageQuery
    from streams.billing.messages import UsageRow
    from streams.billing.money import Currency
    from streams.devices.replica import ModelKind

CORRECTION: Final = "correction"
"""The line of what a person has charged, or given back, out of suspense."""

_OBJECTS: Final[Mapping[ModelKind, UsageObject]] = {
    "chat": "organization.usage.completions.result",
    "embedding": "organization.usage.embeddings.result",
}


class _Group(NamedTuple):
    """What rows are added up under; empty: they are not told apart by it."""

    model: str
    key: str
    beside: str
    """The kind of work, or the currency."""
    is_correction: bool = False


def usage_list(query: UsageQuery, rows: Iterable[UsageRow]) -> UsageList:
    """Return the days of a page, with what was used on each."""
    groups = _grouped(query, (row for row in rows if not row.corrections), lambda row: row.kind)
    data = tuple(
        UsageBucket(
            start_time=start,
            end_time=end,
            results=tuple(_usage(query, group, groups[day][group]) for group in sorted(groups[day])),
        )
        for day, start, end in _days(query)
    )
    return UsageList(data=data, has_more=query.next_page is not None, next_page=query.next_page)


def cost_list(query: UsageQuery, rows: Iterable[UsageRow]) -> CostList:
    """Return the days of a page, with what was charged on each; what is in two currencies is two results."""
    groups = _grouped(query, (row for row in rows if currency_of(row) is not None), lambda row: row.currency or "")
    data = tuple(
        CostBucket(
            start_time=start,
            end_time=end,
            results=tuple(_cost(query, group, groups[day][group]) for group in sorted(groups[day])),
        )
        for day, start, end in _days(query)
    )
    return CostList(data=data, has_more=query.next_page is not None, next_page=query.next_page)


def currency_of(row: UsageRow) -> Currency | None:
    """In which currency something was charged; None: it had no price."""
    return None if row.currency == NO_CURRENCY else row.currency


def _grouped(
    query: UsageQuery, rows: Iterable[UsageRow], beside: Callable[[UsageRow], str]
) -> defaultdict[str, dict[_Group, list[UsageRow]]]:
    groups: defaultdict[str, dict[_Group, list[UsageRow]]] = defaultdict(dict)
    for row in rows:
        if (query.models and row.model not in query.models) or (query.keys and row.key not in query.keys):
            continue
        model, key = row.model if query.by_model else "", (row.key or "") if query.by_key else ""
        group = _Group(model, key, beside(row), query.by_model and row.corrections > 0)
        groups[row.day].setdefault(group, []).append(row)
    return groups


def _usage(query: UsageQuery, group: _Group, rows: list[UsageRow]) -> UsageResult:
    return UsageResult(
        object=_OBJECTS[rows[0].kind],
        input_tokens=sum(row.prompt_tokens for row in rows),
        output_tokens=sum(row.completion_tokens for row in rows),
        input_cached_tokens=sum(row.cached_prompt_tokens for row in rows),
        num_model_requests=sum(row.tasks for row in rows),
        num_cached_answers=sum(row.hits for row in rows),
        model=group.model if query.by_model else None,
        api_key_id=group.key or None,
    )


def _cost(query: UsageQuery, group: _Group, rows: list[UsageRow]) -> CostResult:
    model = group.model if query.by_model else None
    return CostResult(
        amount=Amount(value=decimal_of(sum(row.amount_nano for row in rows)), currency=group.beside),
        line_item=CORRECTION if group.is_correction else model,
        model=model,
        api_key_id=group.key or None,
    )


def _days(query: UsageQuery) -> Iterator[tuple[str, int, int]]:
    day = query.first_day
    while day < query.page_end:
        yield day.isoformat(), _unix_s(day), _unix_s(day + DAY)
        day += DAY


def _unix_s(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
