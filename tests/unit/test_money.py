"""Amounts are exact, accounts of the ledger are what they say, and no chain is like another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.billing.money import FEES, MOST_NANO, LedgerAccount, decimal_of, held, nano_of, node, user
from streams.billing.subjects import BOOKS, Chain, account_chain, book_chain, parse_chain
from streams.errors import InvalidAmount, InvalidLedgerAccount, InvalidSubject
from streams.tokens import Token

TOKENS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).map(Token)
NAMES = st.one_of(TOKENS, st.sampled_from([Token(book) for book in BOOKS]))


@given(st.integers(-MOST_NANO, MOST_NANO))
def test_an_amount_is_read_back_as_it_was_written(amount_nano: int) -> None:
    assert nano_of(decimal_of(amount_nano)) == amount_nano


@pytest.mark.parametrize(
    ("amount_nano", "text"),
    [(0, "0"), (1, "0.000000001"), (-1, "-0.000000001"), (12_500_000_000, "12.5"), (-3_000_000_000, "-3")],
)
def test_an_amount_is_shown_as_people_write_it(amount_nano: int, text: str) -> None:
    assert decimal_of(amount_nano) == text


@pytest.mark.parametrize("text", ["", "1,5", "1e3", "0.0000000001", "9999999999.0", "1 2", "٣", "+1", ".5", "1."])
def test_what_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidAmount):
        nano_of(text)


@given(TOKENS)
def test_an_account_of_the_ledger_is_read_back_from_its_text(name: Token) -> None:
    for account in (user(name), held(name), node(name), LedgerAccount("paying", name), FEES):
        assert LedgerAccount.parse(str(account)) == account


@pytest.mark.parametrize(
    "text", ["", "user", "user:", "user:a:b", "user:a b", "fees:", "fees:acme", "node:a\n", "Fees"]
)
def test_what_is_no_account_of_the_ledger_is_refused(text: str) -> None:
    with pytest.raises(InvalidLedgerAccount):
        LedgerAccount.parse(text)


@given(NAMES)
def test_chains_of_accounts_and_of_the_books_never_collide(account: Token) -> None:
    chains = {account_chain(account), *(book_chain(book) for book in BOOKS)}
    assert len({chain.subject for chain in chains}) == len(chains) == 1 + len(BOOKS)
    assert {parse_chain(chain.subject) for chain in chains} == chains


@pytest.mark.parametrize(
    "subject", ["", "billing", "billing.", "billing.a.b", "books.other", "ended.acme", "billing.a b"]
)
def test_what_is_no_chain_is_refused(subject: str) -> None:
    with pytest.raises(InvalidSubject):
        parse_chain(subject)


def test_a_chain_knows_its_subject() -> None:
    assert Chain("billing", Token("acme")).subject == "billing.acme"
