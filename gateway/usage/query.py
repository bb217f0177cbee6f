"""What a request for usage asks for: days, groups and filters, as OpenAI's organization API names them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.http.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multidict import MultiMapping

DAY: Final = timedelta(days=1)
USUAL_DAYS: Final = 7
MOST_DAYS: Final = 180
_EARLIEST: Final = date(2020, 1, 1)
_MOST_NAMES: Final = 64
_GROUPS: Final = {"model": "model", "line_item": "model", "api_key_id": "api_key_id"}
"""``line_item`` is what OpenAI's costs call it: a line of an invoice is a model here."""


class UsageQuery(NamedTuple):
    """Days (UTC) from ``first_day`` on, not as far as ``end_day``; of those as many as one page shows."""

    first_day: date
    end_day: date
    days: int
    by_model: bool
    by_key: bool
    models: frozenset[str]
    """None named: all."""
    keys: frozenset[str]

    @property
    def page_end(self) -> date:
        """The day behind the last that is shown."""
        return min(self.end_day, self.first_day + self.days * DAY)

    @property
    def next_page(self) -> str | None:
        """Where the next page begins; None: this is the last."""
        return self.page_end.isoformat() if self.page_end < self.end_day else None


def read_query(query: MultiMapping[str], *, now: datetime) -> UsageQuery:
    """Read the parameters of a request.

    Raises:
        ApiError: 400, naming the parameter that cannot be used.
    """
    if query.get("bucket_width", "1d") != "1d":
        raise _wrong("bucket_width", "usage is added up by days (UTC): 1d")
    days = _days(query.get("limit"))
    today = now.astimezone(UTC).date()
    end_day = _end_day(query.get("end_time"), today)
    start = _day_of("start_time", query.get("start_time"))
    first_day = max(_page(query.get("page")) or start or end_day - days * DAY, _EARLIEST)
    if first_day >= end_day:
        raise _wrong("start_time", "it must be before end_time, and not in the future")
    groups = _groups(_listed(query, "group_by"))
    return UsageQuery(
        first_day=first_day,
        end_day=end_day,
        days=days,
        by_model="model" in groups,
        by_key="api_key_id" in groups,
        models=frozenset(_listed(query, "models")),
        keys=frozenset(_listed(query, "api_key_ids")),
    )


def _days(text: str | None) -> int:
    if text is None:
        return USUAL_DAYS
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:4]) <= MOST_DAYS and len(text) <= 3):
        raise _wrong("limit", f"it is a number of days from 1 to {MOST_DAYS}")
    return int(text)


def _end_day(text: str | None, today: date) -> date:
    """The day behind the last: of a time within a day the whole day is shown, and never one that has not begun."""
    if text is None:
        return today + DAY
    moment = _moment("end_time", text)
    day = moment.date()
    return min(day if moment.time() == datetime.min.time() else day + DAY, today + DAY)


def _day_of(name: str, text: str | None) -> date | None:
    return None if text is None else _moment(name, text).date()


def _moment(name: str, text: str) -> datetime:
    if text.isascii() and text.isdecimal() and len(text) <= len("9999999999"):
        return datetime.fromtimestamp(int(text), UTC)
    raise _wrong(name, "it is a time in Unix seconds")


def _page(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise _wrong("page", "use next_page of the page before") from error


def _listed(query: MultiMapping[str], name: str) -> tuple[str, ...]:
    """What a parameter names, written once for each, with ``[]`` behind its name, or with commas."""
    given = (*query.getall(name, []), *query.getall(f"{name}[]", []))
    found = tuple(part for text in given for part in text.split(",") if part)
    if len(found) > _MOST_NAMES:
        raise _wrong(name, f"it names at most {_MOST_NAMES}")
    return found


def _groups(names: Iterable[str]) -> frozenset[str]:
    if unknown := [name for name in names if name not in _GROUPS]:
        raise _wrong("group_by", f"{unknown[0][:64]!r} is none of {', '.join(_GROUPS)}")
    return frozenset(_GROUPS[name] for name in names)


def _wrong(param: str, remedy: str) -> ApiError:
    message = f"The value of {param} cannot be used: {remedy}."
    return ApiError(400, message, code="invalid_value", param=param)
