"""Subjects of users' files in CORE: a part of ``streams.subjects``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streams.errors import InvalidSubject, InvalidToken
from streams.tokens import token

if TYPE_CHECKING:
    from streams.tokens import Token

_DIGITS: Final = 8


def file(account: Token, name: Token) -> str:
    """Where it stands what a file is."""
    return f"files.{account}.{name}"


def files_of(account: Token) -> str:
    """All files of an account, as a filter."""
    return f"files.{account}.*"


def file_part(account: Token, name: Token, number: int) -> str:
    """Where a part of a file is, counted from 0."""
    return f"parts.{account}.{name}.{number:0{_DIGITS}d}"


def parts_of(account: Token, name: Token) -> str:
    """All parts of a file, as a filter."""
    return f"parts.{account}.{name}.*"


def part_of_each(account: Token, number: int) -> str:
    """The part of one number of all that an account has, as a filter."""
    return f"parts.{account}.*.{number:0{_DIGITS}d}"


def parse_file(subject: str) -> tuple[Token, Token]:
    """Return the account and the file that a ``files.…`` subject names.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    match subject.split("."):
        case ["files", account, name]:
            try:
                return token(account), token(name)
            except InvalidToken as error:
                raise InvalidSubject(f"{subject!r} has a part that is no token: {error}") from error
        case _:
            raise InvalidSubject(f"{subject!r} is not files.<account>.<file>")


def part_number(subject: str) -> int:
    """Return which part of its file a ``parts.…`` subject names.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    return _parse_part(subject)[1]


def part_owner(subject: str) -> Token:
    """Return what the part that a ``parts.…`` subject names is of.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    return _parse_part(subject)[0]


def _parse_part(subject: str) -> tuple[Token, int]:
    match subject.split("."):
        case ["parts", _, name, number] if number.isdecimal() and len(number) == _DIGITS:
            try:
                return token(name), int(number)
            except InvalidToken as error:
                raise InvalidSubject(f"{subject!r} has a part that is no token: {error}") from error
        case _:
            raise InvalidSubject(f"{subject!r} is not parts.<account>.<file>.<number>")
