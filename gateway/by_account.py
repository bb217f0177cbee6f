"""Settings that are lists of ``ACCOUNT=VALUE``: rules of accounts that have one of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from streams.access.limits import MOST
from streams.tokens import is_token

if TYPE_CHECKING:
    from collections.abc import Iterator

Choice = TypeVar("Choice", bound=str)


def limits_by_account(entries: tuple[str, ...]) -> dict[str, int | None]:
    """Return the limits of accounts; None: ``none`` was said, as much as there is.

    Raises:
        ValueError: if an entry is no ``ACCOUNT=VALUE``, or its value neither a limit nor ``none``.
    """
    return {account: None if text == "none" else count(text, MOST) for account, text in by_account(entries)}


def by_account(entries: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Split entries into accounts and what is said of each.

    Raises:
        ValueError: if an entry is no ``ACCOUNT=VALUE``.
    """
    for entry in entries:
        account, sign, text = entry.partition("=")
        if not sign or not is_token(account):
            raise ValueError(f"{entry!r} is not ACCOUNT=VALUE")
        yield account, text


def choice(text: str, choices: tuple[Choice, ...]) -> Choice:
    """Return the choice that a text is.

    Raises:
        ValueError: if it is none of them.
    """
    for known in choices:
        if text == known:
            return known
    raise ValueError(f"{text!r} is none of {', '.join(choices)}")


def count(text: str, most: int) -> int:
    """Return the number that a text is, from 1 to ``most``.

    Raises:
        ValueError: if it is none.
    """
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise ValueError(f"{text!r} is not a whole number from 1 to {most}")
    return int(text)
