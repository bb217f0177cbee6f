"""Subjects of vector stores in CORE: a part of ``streams.subjects``."""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.errors import InvalidSubject, InvalidToken
from streams.tokens import Token, token

SEARCH: Final = "retrieval.search"
"""Where retrieval processes are asked for passages; one of them answers."""

_GENERATION_DIGITS: Final = 16
_PART_DIGITS: Final = 6


class StoreKey(NamedTuple):
    """Which store of which account."""

    account: Token
    store: Token


class PassagesKey(NamedTuple):
    """What a batch of passages is of. ``part`` counts from 0."""

    store: StoreKey
    file: Token
    generation: int
    part: int


def store(key: StoreKey) -> str:
    """Where the events of a vector store stand: one fenced chain."""
    return f"stores.{key.account}.{key.store}"


def stores_of(account: Token) -> str:
    """All vector stores of an account, as a filter."""
    return f"stores.{account}.*"


def parse_store(subject: str) -> StoreKey:
    """Return which store a ``stores.…`` subject names.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    match subject.split("."):
        case ["stores", account, name]:
            return StoreKey(_token(account, subject), _token(name, subject))
        case _:
            raise InvalidSubject(f"{subject!r} is not stores.<account>.<store>")


def passages(key: StoreKey, file: Token, generation: int, part: int) -> str:
    """Where some passages of a file stand: those of one generation, part after part from 0."""
    return f"passages.{key.account}.{key.store}.{file}.{generation:0{_GENERATION_DIGITS}d}.{part:0{_PART_DIGITS}d}"


def passages_of_generation(key: StoreKey, file: Token, generation: int) -> str:
    """All passages of a file that are of one generation, as a filter."""
    return f"passages.{key.account}.{key.store}.{file}.{generation:0{_GENERATION_DIGITS}d}.*"


def passages_of_file(key: StoreKey, file: Token) -> str:
    """All passages of a file in a store, as a filter."""
    return f"passages.{key.account}.{key.store}.{file}.*.*"


def passages_of_store(key: StoreKey) -> str:
    """All passages of a store, as a filter."""
    return f"passages.{key.account}.{key.store}.*.*.*"


def parse_passages(subject: str) -> PassagesKey:
    """Return what a ``passages.…`` subject names.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    match subject.split("."):
        case ["passages", account, name, file, generation, part] if generation.isdecimal() and part.isdecimal():
            key = StoreKey(_token(account, subject), _token(name, subject))
            return PassagesKey(key, _token(file, subject), int(generation), int(part))
        case _:
            raise InvalidSubject(f"{subject!r} is not passages.<account>.<store>.<file>.<generation>.<part>")


def _token(text: str, subject: str) -> Token:
    try:
        return token(text)
    except InvalidToken as error:
        raise InvalidSubject(f"{subject!r} has a part that is no token: {error}") from error
