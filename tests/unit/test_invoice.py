"""What an account was charged in a month, and how it is written."""

import csv
import io

import pytest

from gateway.errors import GatewayError
from gateway.usage.invoice import csv_of, days_of, invoice_of
from gateway.usage.objects import Amount
from streams.billing.messages import UsageRow

ROWS = (
    UsageRow(day="2026-11-01", model="small", key="k1", currency="EUR", tasks=2, prompt_tokens=9, amount_nano=10**8),
    UsageRow(
        day="2026-11-30", model="small", key="k1", currency="EUR", tasks=1, prompt_tokens=1, amount_nano=2 * 10**8
    ),
    UsageRow(day="2026-11-30", model="small", key="k1", currency="PEAQ", tasks=1, amount_nano=1),
    UsageRow(day="2026-11-02", model="small", currency="EUR", hits=3, amount_nano=5),
    UsageRow(day="2026-11-02", model='=cmd("x")', tasks=1, completion_tokens=4, currency="XXX"),
)


def test_days_are_added_up_by_model_and_key_and_currencies_never_mix() -> None:
    made = invoice_of("acme", "2026-11", ROWS)
    assert made.total == (Amount(value="0.300000005", currency="EUR"), Amount(value="0.000000001", currency="PEAQ"))
    of_key = [line for line in made.lines if line.api_key_id == "k1" and line.amount is not None]
    assert [(line.tasks, line.prompt_tokens, line.amount) for line in of_key] == [
        (3, 10, Amount(value="0.3", currency="EUR")),
        (1, 0, Amount(value="0.000000001", currency="PEAQ")),
    ]


def test_a_spreadsheet_reads_all_of_it_and_runs_none_of_it() -> None:
    made = invoice_of("acme", "2026-11", ROWS)
    rows = list(csv.DictReader(io.StringIO(csv_of(made))))
    assert len(rows) == len(made.lines) == 4
    assert {row["account"] for row in rows} == {"acme"}
    assert rows[0]["model"] == '\'=cmd("x")'
    assert (rows[0]["amount"], rows[0]["currency"]) == ("", "")
    assert [row["amount"] for row in rows[1:]] == ["0.000000005", "0.3", "0.000000001"]


@pytest.mark.parametrize(
    ("month", "days"),
    [("2026-11", ("2026-11-01", "2026-11-30")), ("2028-02", ("2028-02-01", "2028-02-29"))],
)
def test_a_month_has_its_days(month: str, days: tuple[str, str]) -> None:
    assert days_of(month) == days


@pytest.mark.parametrize("month", ["2026", "2026-13", "2026-1", "0000-01", "26-11", "\u0662\u0660\u0662\u0666-11"])
def test_what_is_no_month_is_refused(month: str) -> None:
    with pytest.raises(GatewayError, match="is no month"):
        days_of(month)


def test_a_correction_is_a_line_of_its_own_and_in_the_total() -> None:
    rows = (
        *ROWS[:2],
        UsageRow(day="2026-11-09", model="small", key="k1", currency="EUR", corrections=1, amount_nano=7),
        UsageRow(day="2026-11-30", model="small", key="k1", currency="EUR", corrections=2),
    )
    made = invoice_of("acme", "2026-11", rows)
    used, corrected = made.lines
    assert (used.corrections, used.tasks, used.amount) == (0, 3, Amount(value="0.3", currency="EUR"))
    assert (corrected.corrections, corrected.tasks) == (3, 0)
    assert corrected.amount == Amount(value="0.000000007", currency="EUR")
    assert made.total == (Amount(value="0.300000007", currency="EUR"),)
    written = list(csv.DictReader(io.StringIO(csv_of(made))))
    assert [(row["corrections"], row["amount"]) for row in written] == [("0", "0.3"), ("3", "0.000000007")]
