"""What lies in suspense leaves it as a whole, once, and only to where it may go."""

import pytest
from msgspec.structs import replace

from streams.billing.events import (
    KeyBudget,
    LedgerPosted,
    LedgerSuspended,
    PlanSet,
    Posting,
    PriceRule,
    PricesSet,
    Transaction,
)
from streams.billing.log import AnyBillingEvent
from streams.billing.messages import Held, HoldRefused, HoldWanted
from streams.billing.subjects import account_chain, book_chain
from streams.codec import encode
from streams.errors import InvalidAmount, InvalidLedgerAccount
from streams.ledger.corrections import SuspenseBook, SuspenseEntry, correct, read_part
from streams.ledger.dump import dump, load
from streams.ledger.fold import LedgerState
from streams.ledger.holding import Taken, decide
from streams.tokens import Token

ACME = Token("acme")
CHAIN = account_chain(ACME)
AT_MS = 1_767_225_600_000
TASK = "019b7a3e00007abc8def012345678900"


def suspended(amount_nano: int = 1000, task: str = TASK) -> LedgerSuspended:
    postings = (
        Posting(account="held:acme", amount_nano=-amount_nano),
        Posting(account="suspense", amount_nano=amount_nano),
    )
    transaction = Transaction(
        id=f"charge:{task}",
        kind="suspense",
        at_ms=AT_MS,
        currency="EUR",
        postings=postings if amount_nano else (),
        task=task,
    )
    return LedgerSuspended(at_ms=AT_MS, code="above_hold", message="too much", transaction=transaction)


def book_with(event: LedgerSuspended) -> tuple[SuspenseBook, SuspenseEntry]:
    book = SuspenseBook()
    book.take(7, CHAIN, event)
    (entry,) = book.newest_first
    return book, entry


def posted(*transactions: Transaction) -> LedgerPosted:
    return LedgerPosted(at_ms=AT_MS, transactions=transactions)


def corrected(entry: SuspenseEntry, *texts: str) -> Transaction:
    return correct(entry, tuple(read_part(text, ACME) for text in texts), at_ms=AT_MS, by="op", note="seen")


@pytest.mark.parametrize(
    ("texts", "went"),
    [
        (("back",), {"user:acme": 1000}),
        (("fees",), {"fees": 1000}),
        (("node:n1", "fees=0.0000001", "back=0.0000004"), {"node:n1": 500, "fees": 100, "user:acme": 400}),
    ],
)
def test_an_entry_leaves_suspense_as_a_whole_and_balanced(texts: tuple[str, ...], went: dict[str, int]) -> None:
    book, entry = book_with(suspended())
    correction = corrected(entry, *texts)
    assert {each.account: each.amount_nano for each in correction.postings} == {"suspense": -1000, **went}
    assert (correction.kind, correction.id) == ("correction", f"correction:charge:{TASK}")
    assert book.take(8, CHAIN, posted(correction)) == []
    (after,) = book.newest_first
    assert (entry.lies_nano, after.lies_nano, after.correction) == (1000, 0, correction)


@pytest.mark.parametrize(
    "texts",
    [
        ("fees=0.0000001",),
        ("fees=1", "back"),
        ("fees", "back"),
        ("fees=0", "back"),
        ("fees=-0.0000001", "back"),
        ("fees=0.000001", "back"),
        ("fees=0.0000001", "fees"),
        ("back=much",),
    ],
)
def test_parts_that_are_not_the_whole_are_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidAmount):
        corrected(book_with(suspended())[1], *texts)


def test_where_nothing_was_held_nothing_can_be_corrected() -> None:
    with pytest.raises(InvalidAmount, match="nothing was held"):
        corrected(book_with(suspended(0))[1], "back")


@pytest.mark.parametrize("text", ["user:other", "outside", "suspense", "held:acme", "paying:n1", "node:", "nobody"])
def test_what_lies_in_suspense_goes_nowhere_else(text: str) -> None:
    with pytest.raises(InvalidLedgerAccount):
        read_part(text, ACME)


def test_a_correction_of_something_else_than_what_lies_there_is_named() -> None:
    book, entry = book_with(suspended())
    stranger = corrected(book_with(suspended(task="019b7a3e00007abc8def012345678901"))[1], "back")
    assert book.take(8, CHAIN, posted(stranger)) == [f"{stranger.id} corrects what is not in suspense"]
    too_much = correct(book_with(suspended(1500))[1], (read_part("fees", ACME),), at_ms=AT_MS, by="op", note="")
    (fault,) = book.take(9, CHAIN, posted(too_much))
    assert "1500 nano EUR" in fault
    assert entry.id in fault


def test_what_a_correction_gives_back_is_free_again_in_the_budgets_of_the_month_of_its_hold() -> None:
    state, number = LedgerState(), 0

    def store(subject: str, event: AnyBillingEvent) -> None:
        nonlocal number
        number += 1
        state.apply(number, subject, encode(replace(event, previous=state.chain(subject).digest)))

    def asked(task: str, at_ms: int = AT_MS) -> Transaction | Held | HoldRefused:
        want = HoldWanted(
            account=ACME, task=task, model="m", key="k1", prompt_tokens_most=100, completion_tokens_most=0
        )
        return decide(state, state.chain(CHAIN.subject), want, Taken(), at_ms=at_ms)

    rules = (PriceRule(model="m", prompt=10),)
    prices = PricesSet(at_ms=AT_MS, version=1, effective_at_ms=AT_MS, currency="EUR", rules=rules)
    store(book_chain("prices").subject, prices)
    budget = (KeyBudget(key="k1", monthly_nano=1500),)
    store(CHAIN.subject, PlanSet(at_ms=AT_MS, kind="postpaid", limit_nano=10**6, keys=budget))
    held = asked(TASK)
    assert isinstance(held, Transaction)
    store(CHAIN.subject, posted(held))
    store(CHAIN.subject, suspended())
    other = f"{int(TASK, 16) + 1:032x}"
    refused = asked(other)
    assert isinstance(refused, HoldRefused)
    assert refused.code == "budget_exceeded"

    (entry,) = book_with(suspended())[0].newest_first
    store(CHAIN.subject, posted(corrected(entry, "fees=0.0000004", "back")))
    assert isinstance(asked(other), Transaction)
    assert [state.chain(CHAIN.subject).spent_nano(month, "EUR", "k1") for month in ("2026-01", "2026-02")] == [400, 0]
    (row,) = state.usage.page(ACME, "2026-01-01", "2026-01-31").rows
    assert (row.key, row.corrections, row.amount_nano) == ("k1", 1, 400)
    fresh = LedgerState()
    load(fresh, dump(state))
    assert dump(fresh) == dump(state)


def test_entries_come_the_newest_first() -> None:
    book = SuspenseBook()
    for sequence in (3, 5, 4):
        book.take(sequence, CHAIN, suspended(task=f"{sequence:032x}"))
    assert [entry.sequence for entry in book.newest_first] == [5, 4, 3]
