"""What is due by the calendar: each month and week once, in order; payouts by what was said of a node."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.billing.events import PeriodSealed
from streams.ledger.periods import months_due
from streams.payouts.book import PayoutBook
from streams.payouts.events import HOUR_MS, PayoutDestinationSet, PayoutPolicySet, PayoutRequested
from streams.rewards.book import RewardBook
from streams.rewards.due import weeks_due
from streams.rewards.epochs import epoch
from streams.rewards.events import RewardEpochClosed, RewardRulesSet
from streams.rewards.rules import IG3_RULES
from streams.tokens import Token

AT_MS = 1_767_225_600_000
N1, N2 = Token("n1"), Token("n2")
DAY_MS = 24 * HOUR_MS
MONTHS = tuple(f"{2000 + number // 12}-{number % 12 + 1:02d}" for number in range(600))


def sealed(period: str) -> PeriodSealed:
    return PeriodSealed(
        at_ms=AT_MS,
        period=period,
        first_sequence=1,
        last_sequence=1,
        events=1,
        transactions=0,
        digest="",
        totals_digest="",
    )


def rules_from(number: int) -> RewardRulesSet:
    return RewardRulesSet(at_ms=AT_MS, rules=IG3_RULES, from_epoch=number)


def closed(number: int) -> RewardEpochClosed:
    return RewardEpochClosed(at_ms=AT_MS, epoch=number, version="ig3-1", devices=0, base_nano=0, bonus_nano=0)


@given(st.lists(st.integers(-40, 40), max_size=12))
def test_whatever_the_clock_does_each_month_and_week_is_done_once_and_in_order(moves: list[int]) -> None:
    """A clock that jumps forth and back; whoever looks does what is due, and only what stands on the log is known."""
    seals: list[PeriodSealed] = []
    weeks: list[int] = []
    week, furthest = 100, 0
    for move in moves:
        week = max(1, week + move)
        furthest = max(furthest, week)
        seals += [sealed(each) for each in months_due(MONTHS[90], seals, MONTHS[week])]
        book = RewardBook([rules_from(90), *map(closed, weeks)])
        weeks += [each.number for each in weeks_due(book, first=epoch(80), at_ms=epoch(week).ends_at_ms)]
    assert weeks == list(range(90, furthest + 1))
    assert [each.period for each in seals] == list(MONTHS[90 : furthest + 1])


def test_weeks_are_closed_from_the_first_with_rules_and_with_a_device() -> None:
    at_ms = epoch(104).ends_at_ms
    assert weeks_due(RewardBook(), first=epoch(100), at_ms=at_ms) == []
    for rules, device, begins in ((102, 100, 102), (0, 103, 103), (105, 100, None)):
        due = weeks_due(RewardBook([rules_from(rules)]), first=epoch(device), at_ms=at_ms)
        assert [each.number for each in due] == ([] if begins is None else list(range(begins, 105)))
    assert weeks_due(RewardBook([rules_from(104)]), first=epoch(0), at_ms=at_ms - 1) == []


# --- payouts -----------------------------------------------------------------------------------------------------

GENERAL = PayoutPolicySet(at_ms=AT_MS, currency="IG3", least_nano=500, every_ms=DAY_MS)


def to(node: Token, address: str = "x") -> PayoutDestinationSet:
    return PayoutDestinationSet(at_ms=AT_MS, node=node, driver="file", address=address)


def asked(at_ms: int, name: str = "p1") -> PayoutRequested:
    return PayoutRequested(at_ms=at_ms, payout=name, node=N1, driver="file", address="x", amount_nano=1, currency="IG3")


@pytest.mark.parametrize(
    ("policies", "amount"),
    [
        ([], 0),
        ([GENERAL], 1234),
        ([GENERAL, replace(GENERAL, is_on=False)], 0),
        ([replace(GENERAL, currency="EUR")], 0),
        ([replace(GENERAL, node=N2)], 0),
        ([GENERAL, replace(GENERAL, node=N1, is_on=False)], 0),
        ([replace(GENERAL, node=N1), replace(GENERAL, is_on=False)], 1234),
        ([replace(GENERAL, driver="erc20")], 0),
        ([replace(GENERAL, driver="file", step_nano=100)], 1200),
        ([replace(GENERAL, least_nano=1234)], 1234),
        ([replace(GENERAL, least_nano=1235)], 0),
        ([replace(GENERAL, least_nano=1201, step_nano=100)], 0),
    ],
)
def test_what_is_requested_by_itself_is_what_was_said(policies: list[PayoutPolicySet], amount: int) -> None:
    book = PayoutBook([to(N1), *policies])
    assert book.due_nano(N1, "IG3", 1234, now_ms=AT_MS) == amount
    assert PayoutBook(policies).due_nano(N1, "IG3", 1234, now_ms=AT_MS) == 0
    assert all(book.due_nano(N1, "IG3", nothing, now_ms=AT_MS) == 0 for nothing in (0, -1))


@pytest.mark.parametrize(
    ("now_ms", "is_due"),
    [
        (AT_MS + DAY_MS, True),
        (AT_MS + DAY_MS - 1, False),
        (AT_MS, False),
        (AT_MS - DAY_MS + 1, False),  # the clock has jumped back
        (AT_MS - DAY_MS, True),  # that of whoever asked was wrong: it must not keep a node waiting for years
    ],
)
def test_another_payout_follows_after_a_while_whoever_asked_for_the_last(now_ms: int, is_due: bool) -> None:
    book = PayoutBook([to(N1), GENERAL, asked(AT_MS - 2 * DAY_MS, "p0"), asked(AT_MS), asked(AT_MS + 9, "p0")])
    assert book.asked(N1, "IG3") == (2, AT_MS)
    assert bool(book.due_nano(N1, "IG3", 1000, now_ms=now_ms)) is is_due
