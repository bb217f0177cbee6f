"""Subjects of batches in CORE: a part of ``streams.subjects``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.errors import InvalidSubject, InvalidToken
from streams.tokens import token

if TYPE_CHECKING:
    from streams.tokens import Token


def batch(account: Token, name: Token) -> str:
    """Where the events of a batch stand: one fenced chain."""
    return f"batches.{account}.{name}"


def batches_of(account: Token) -> str:
    """All batches of an account, as a filter."""
    return f"batches.{account}.*"


def parse_batch(subject: str) -> tuple[Token, Token]:
    """Return the account and the batch that a ``batches.…`` subject names.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    match subject.split("."):
        case ["batches", account, name]:
            try:
                return token(account), token(name)
            except InvalidToken as error:
                raise InvalidSubject(f"{subject!r} has a part that is no token: {error}") from error
        case _:
            raise InvalidSubject(f"{subject!r} is not batches.<account>.<batch>")
