"""Subjects of shard groups in CORE: a part of ``streams.subjects``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streams.errors import InvalidSubject, InvalidToken
from streams.tokens import token

if TYPE_CHECKING:
    from streams.tokens import Token

GROUPS_ALL: Final = "groups.*"


def group(name: Token) -> str:
    """Where events about a shard group stand."""
    return f"groups.{name}"


def parse_group(subject: str) -> Token:
    """Return the group that a ``groups.…`` subject names.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    match subject.split("."):
        case ["groups", name]:
            try:
                return token(name)
            except InvalidToken as error:
                raise InvalidSubject(f"{subject!r} has a part that is no token: {error}") from error
        case _:
            raise InvalidSubject(f"{subject!r} is not groups.<group>")
