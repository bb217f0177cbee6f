"""A month that was sealed is compared event by event, and whatever is not as it was is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.billing.events import LedgerPosted, PeriodSealed, Posting, Transaction
from streams.codec import encode
from streams.errors import InvalidPeriod
from streams.ledger.fold import LedgerState, digest_of_body
from streams.ledger.periods import OpenPeriod, SealedPeriods, ends_ms, month_after, month_before, out_of_order

AT_MS = 1_796_083_200_000
SUBJECT = "billing.acme"

Log = list[tuple[int, str, bytes]]


def log_of(count: int) -> Log:
    """Deposits on one chain, of 1, 2, 3 ... nano."""
    found: Log = []
    previous = ""
    for number in range(1, count + 1):
        postings = (
            Posting(account="outside", amount_nano=-number),
            Posting(account="user:acme", amount_nano=number),
        )
        deposit = Transaction(id=f"deposit:{number}", kind="deposit", at_ms=AT_MS, currency="EUR", postings=postings)
        data = encode(LedgerPosted(at_ms=AT_MS, previous=previous, transactions=(deposit,)))
        found.append((number, SUBJECT, data))
        previous = digest_of_body(data)
    return found


def sealed(log: Log, *ends: int) -> list[PeriodSealed]:
    """Months that end behind these sequences."""
    state, seals, period, begin = LedgerState(), list[PeriodSealed](), "2026-11", 1
    for end in ends:
        adding = OpenPeriod(state, begin)
        for event in log[begin - 1 : end]:
            adding.take(*event)
            state.apply(*event)
        seals.append(adding.seal(period, at_ms=AT_MS))
        period, begin = month_after(period), end + 1
    return seals


def faults_of(log: Log, seals: list[PeriodSealed], *, after: int = 0) -> tuple[list[str], int]:
    state, faults = LedgerState(), list[str]()
    for event in log[:after]:
        state.apply(*event)
    periods = SealedPeriods(state, seals, after=after)
    for event in log[after:]:
        faults += periods.take(*event)
        state.apply(*event)
    return faults + periods.end(), periods.compared


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(0, 5))
def test_what_is_as_it_was_sealed_has_no_fault_however_the_months_are_cut(counts: list[int], more: int) -> None:
    ends = [sum(counts[: at + 1]) for at in range(len(counts))]
    log = log_of(ends[-1] + more)
    seals = sealed(log, *ends)
    assert faults_of(log, seals) == ([], len(ends))
    assert out_of_order(seals) == []
    assert seals[-1].transactions == counts[-1]


@given(st.integers(1, 6), st.sampled_from(["changed", "gone", "moved"]))
def test_an_event_that_is_not_what_was_sealed_is_named_by_its_month(which: int, how: str) -> None:
    log = log_of(8)
    seals = sealed(log, 3, 6)
    sequence, subject, data = log[which - 1]
    if how == "gone":
        del log[which - 1]
    else:
        subject, data = (subject, data[:-1] + b"?") if how == "changed" else ("billing.other", data)
        log[which - 1] = (sequence, subject, data)
    faults, compared = faults_of(log, seals)
    assert compared == 2
    month = "2026-11" if which <= 3 else "2026-12"
    assert f"{month}: digest is not what was sealed" in faults


@pytest.mark.parametrize("field", ["events", "transactions", "digest", "totals_digest", "totals", "last_sequence"])
def test_a_seal_that_the_log_does_not_bear_out_is_named_by_its_field(field: str) -> None:
    log = log_of(4)
    (seal,) = sealed(log, 3)
    forged = {"events": 9, "transactions": 9, "digest": "0" * 64, "totals_digest": "0" * 64, "totals": ()}
    faults, _ = faults_of(log, [replace(seal, **{field: forged.get(field, 2)})])
    assert any(fault.startswith("2026-11:") for fault in faults)
    if field != "last_sequence":
        assert faults == [f"2026-11: {field} is not what was sealed"]


def test_behind_a_snapshot_only_the_months_that_begin_there_are_compared() -> None:
    log = log_of(8)
    assert faults_of(log, sealed(log, 3, 6, 7), after=3) == ([], 2)
    assert faults_of(log, sealed(log, 3, 6, 7), after=4) == ([], 1)


def test_months_that_do_not_follow_each_other_are_named() -> None:
    first, second = sealed(log_of(6), 3, 6)
    assert len(out_of_order([first, replace(second, period="2027-01")])) == 1
    assert len(out_of_order([first, replace(second, first_sequence=5)])) == 1


def test_months_are_counted_in_utc() -> None:
    assert ends_ms("2026-12") == 1_798_761_600_000
    assert month_after("2026-12") == "2027-01"
    assert (month_before(ends_ms("2026-02")), month_before(ends_ms("2026-02") - 1)) == ("2026-02", "2026-01")


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "2026", "26-01", "2026-11-01", "", "November"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(InvalidPeriod):
        ends_ms(text)
