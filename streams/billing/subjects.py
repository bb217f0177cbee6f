"""Subjects of the books in CORE: a part of ``streams.subjects``.

Two roots keep the chains of accounts and those of the books themselves apart, so that no name of an account is like
that of a list (ADR 22).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

from streams.errors import InvalidSubject, InvalidToken
from streams.tokens import Token, token

ChainKind = Literal["billing", "books"]
"""``billing``: an account that pays. ``books``: what holds for all."""

_KINDS: Final[dict[str, ChainKind]] = {kind: kind for kind in get_args(ChainKind)}

Book = Literal["prices", "sealed", "rewards", "payouts"]
BOOKS: Final[tuple[Book, ...]] = get_args(Book)

UNKNOWN: Final = Token("mesh-unknown")
"""The account under which it is noted what names nobody; no account of users may be called so."""

LedgerVerb = Literal["hold", "usage", "balance", "prices"]
"""What a ledger is asked."""


class Chain(NamedTuple):
    """One fenced chain of BILLING."""

    kind: ChainKind
    name: Token

    @property
    def subject(self) -> str:
        """Where its events stand."""
        return f"{self.kind}.{self.name}"


def account_chain(account: Token) -> Chain:
    """Where everything stands that an account pays."""
    return Chain("billing", account)


def book_chain(book: Book) -> Chain:
    """Where price lists, closed periods, rewards and payouts stand."""
    return Chain("books", Token(book))


def parse_chain(subject: str) -> Chain:
    """Return the chain that a subject of BILLING is.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    root, _, name = subject.partition(".")
    kind = _KINDS.get(root)
    if kind is None or (kind == "books" and name not in BOOKS):
        raise InvalidSubject(f"{subject!r} is not billing.<account> or books.<book>")
    try:
        return Chain(kind, token(name))
    except InvalidToken as error:
        raise InvalidSubject(f"{subject!r} has a part that is no token: {error}") from error


def ledger_api(verb: LedgerVerb) -> str:
    """Where services ask the ledger something, in CORE; whichever copy is there answers."""
    return f"ledger.{verb}"
