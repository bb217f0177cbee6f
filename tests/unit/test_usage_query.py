"""What may be asked of usage, and how rows of the ledger become days."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from gateway.http.errors import ApiError
from gateway.usage.buckets import cost_list, usage_list
from gateway.usage.query import DAY, UsageQuery, read_query
from streams.billing.messages import UsageRow
from streams.billing.money import decimal_of

NOW = datetime(2026, 11, 28, 18, 30, tzinfo=UTC)
NOON_S = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp())
DAYS = [date(2026, 11, 1) + place * DAY for place in range(5)]
ROWS = st.lists(
    st.builds(
        UsageRow,
        day=st.sampled_from(DAYS).map(str),
        model=st.sampled_from(["a", "b"]),
        kind=st.sampled_from(["chat", "embedding"]),
        key=st.sampled_from([None, "k1", "k2"]),
        currency=st.sampled_from([None, "XXX", "EUR", "PEAQ"]),
        tasks=st.integers(0, 9),
        prompt_tokens=st.integers(0, 2**40),
        amount_nano=st.integers(-(10**9), 10**18),
    ),
    max_size=20,
)


def query(**asked: str) -> UsageQuery:
    return read_query(MultiDict(asked), now=NOW)


def test_without_a_word_the_last_seven_days_are_meant_today_included() -> None:
    asked = query()
    assert (asked.first_day, asked.page_end, asked.next_page) == (date(2026, 11, 22), date(2026, 11, 29), None)


def test_a_time_within_a_day_means_the_whole_day() -> None:
    asked = query(start_time=str(NOON_S), end_time=str(NOON_S + 24 * 3600))
    assert (asked.first_day, asked.end_day) == (date(2026, 11, 20), date(2026, 11, 22))
    midnight_s = NOON_S + 12 * 3600
    assert query(start_time=str(NOON_S), end_time=str(midnight_s)).end_day == date(2026, 11, 21)


def test_pages_follow_each_other_without_a_gap_and_end_today() -> None:
    asked = {"start_time": str(NOON_S), "limit": "4"}
    seen: list[tuple[date, date]] = []
    page: str | None = ""
    while page is not None:
        found = query(**asked, **({"page": page} if page else {}))
        seen.append((found.first_day, found.page_end))
        page = found.next_page
    assert seen == [
        (date(2026, 11, 20), date(2026, 11, 24)),
        (date(2026, 11, 24), date(2026, 11, 28)),
        (date(2026, 11, 28), date(2026, 11, 29)),
    ]


def test_lists_may_be_written_in_any_of_the_usual_ways() -> None:
    asked = MultiDict([("group_by[]", "model"), ("group_by", "api_key_id"), ("models", "a,b"), ("api_key_ids[]", "k")])
    found = read_query(asked, now=NOW)
    assert (found.by_model, found.by_key, found.models, found.keys) == (True, True, {"a", "b"}, {"k"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bucket_width", "1h"),
        ("limit", "0"),
        ("limit", "181"),
        ("limit", "٣"),
        ("limit", "9" * 5000),
        ("start_time", "yesterday"),
        ("start_time", "9999999999"),
        ("start_time", "-1"),
        ("end_time", "0"),
        ("page", "2026-13-01"),
        ("group_by", "project_id"),
        ("models", ",".join("m" * 65)),
    ],
)
def test_what_cannot_be_asked_is_named(name: str, value: str) -> None:
    with pytest.raises(ApiError) as refused:
        query(**{name: value})
    assert refused.value.status == 400
    assert refused.value.param == ("start_time" if name == "end_time" else name)


@given(ROWS, st.booleans(), st.booleans())
def test_however_it_is_grouped_nothing_is_lost_and_nothing_added(
    rows: list[UsageRow], by_model: bool, by_key: bool
) -> None:
    asked = UsageQuery(DAYS[0], DAYS[-1] + DAY, 31, by_model, by_key, frozenset(), frozenset())
    used = [result for bucket in usage_list(asked, rows).data for result in bucket.results]
    assert sum(result.input_tokens for result in used) == sum(row.prompt_tokens for row in rows)
    assert sum(result.num_model_requests for result in used) == sum(row.tasks for row in rows)
    named = {(result.object, result.model, result.api_key_id) for result in used}
    assert all((model is not None) == by_model for _, model, _ in named)
    for bucket in cost_list(asked, rows).data:
        day = datetime.fromtimestamp(bucket.start_time, UTC).date().isoformat()
        for currency in ("EUR", "PEAQ"):
            own = [row.amount_nano for row in rows if (row.day, row.currency) == (day, currency)]
            shown = [result.amount.value for result in bucket.results if result.amount.currency == currency]
            assert "XXX" not in {result.amount.currency for result in bucket.results}
            if not (by_model or by_key):
                assert shown == ([decimal_of(sum(own))] if own else [])


def test_a_filter_leaves_out_what_it_does_not_name() -> None:
    rows = [UsageRow(day="2026-11-01", model=model, key=key, tasks=1) for model in "ab" for key in ("k1", None)]
    asked = UsageQuery(DAYS[0], DAYS[0] + DAY, 1, False, False, frozenset({"a"}), frozenset({"k1"}))
    (bucket,) = usage_list(asked, rows).data
    assert [result.num_model_requests for result in bucket.results] == [1]


def test_what_corrections_have_charged_is_a_cost_of_its_own_and_no_usage() -> None:
    of_use = UsageRow(day="2026-11-01", model="a", currency="EUR", tasks=1, amount_nano=5)
    rows = [of_use, UsageRow(day="2026-11-01", model="a", currency="EUR", corrections=1, amount_nano=2)]

    def shown(by_model: bool) -> list[tuple[str | None, str]]:
        asked = UsageQuery(DAYS[0], DAYS[0] + DAY, 1, by_model, False, frozenset(), frozenset())
        assert len(usage_list(asked, rows).data[0].results) == 1
        return [(each.line_item, each.amount.value) for each in cost_list(asked, rows).data[0].results]

    assert shown(by_model=True) == [("a", decimal_of(5)), ("correction", decimal_of(2))]
    assert shown(by_model=False) == [(None, decimal_of(7))]
