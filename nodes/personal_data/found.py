"""What is looked for, and one thing that was found."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Kind = Literal["EMAIL", "PHONE", "IBAN", "CARD", "IP", "SECRET", "WALLET", "DID"]

MOST_ENDS: Final = 6
"""Groups of digits or letters behind a number that may belong to it or not."""


class Found(NamedTuple):
    """One piece of a text that a provider is not to see."""

    start: int
    end: int
    kind: Kind


def ends_of(text: str, start: int, longest: int) -> Iterator[int]:
    """Where something that begins at ``start`` may end, the farthest first: never inside a word or a number."""
    for end in range(longest, start, -1):
        if text[end - 1].isalnum() and (end == len(text) or not text[end].isalnum()):
            yield end


def first_end(text: str, start: int, longest: int, is_whole: Callable[[str], bool]) -> int | None:
    """The farthest end at which ``is_whole`` says that it is one, of a few: what follows a number may look like it."""
    ends = islice(ends_of(text, start, longest), MOST_ENDS)
    return next((end for end in ends if is_whole(text[start:end])), None)
