"""What can be seen of a model from outside: one short answer, and whether it goes on from a text."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from nodes.engine import Generate
from streams.tasks.chat import Message, Sampling

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from nodes.engine import Piece

STORY_TOKENS: Final = 16
SHORT_TOKENS: Final = 8
_STORY: Final = Message(role="user", content="Tell me a long story about the sea.")
_COMPARED_CHARS: Final = 8
"""So much of a continuation must be what the uninterrupted answer has there: in the middle of a sentence no new turn
begins like that."""


class Heard(Struct, frozen=True, kw_only=True):
    """One short answer."""

    text: str
    cuts: tuple[int, ...]
    """Where in the text a piece ended."""
    first_s: float
    last_s: float
    """When the first and the last piece came, on the clock of this process."""

    def overlaps(self, other: Heard) -> bool:
        """Whether both were written at the same time."""
        return self.first_s <= other.last_s and other.first_s <= self.last_s


def story(*, tokens: int = STORY_TOKENS, begun: str = "") -> Generate:
    """Ask for the beginning of a story, or for how it goes on."""
    return Generate(messages=(_STORY,), sampling=Sampling(max_tokens=tokens, temperature=0), prefix=begun)


async def listen(pieces: AsyncIterable[Piece]) -> Heard:
    """Read an answer to its end."""
    text, cuts = "", list[int]()
    first = last = time.perf_counter()
    async for piece in pieces:
        last = time.perf_counter()
        first = first if text else last
        text += piece.text
        cuts.append(len(text))
    return Heard(text=text, cuts=tuple(cuts), first_s=first, last_s=last)


def cut_of(heard: Heard) -> int | None:
    """Where to cut an answer: behind a piece, not at the end of a sentence, with enough behind it; None: nowhere."""
    text = heard.text
    places = [at for at in heard.cuts if text[:at].strip() and text[at:].strip() and at <= len(text) - _COMPARED_CHARS]
    inside = [at for at in places if text[:at].rstrip()[-1].isalnum()]
    # Best where no space comes before: servers may drop it.
    return min(inside, key=lambda at: (text[at - 1].isspace(), abs(at - len(text) // 2)), default=None)


def goes_on(whole: str, at: int, rest: str) -> bool:
    """Whether ``rest`` is how ``whole`` goes on behind ``at``."""
    return rest.startswith(whole[at : at + _COMPARED_CHARS])
