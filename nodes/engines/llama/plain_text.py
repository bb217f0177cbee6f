"""Keeps what people write from being taken for a model's own markers.

llama.cpp renders the chat template to one text and reads control tokens out of all of it, so ``<|im_end|>`` inside a
message would end the turn, and the rest of the message could speak as the system. Neither binding can say which part is
whose. So a marker in a message gets an invisible character behind its first one: the model reads the same letters, and
the tokenizer finds no marker.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

WORD_JOINER: Final = "\u2060"
_IN_TEMPLATE: Final = re.compile(r"<[|/]?\w[\w|]*>|\[/?[A-Z_]{2,}\]")


class PlainText:
    """Breaks the markers of one model."""

    def __init__(self, markers: Iterable[str]) -> None:
        """Take the texts of all control tokens; one of a single character cannot be broken."""
        breakable = sorted((marker for marker in markers if len(marker) > 1), key=len, reverse=True)
        firsts = "|".join(sorted({re.escape(marker[0]) for marker in breakable}))
        self._pattern = re.compile("|".join(map(re.escape, breakable))) if breakable else None
        self.break_pattern = re.compile(f"(?<={firsts}){WORD_JOINER}") if breakable else None
        """Where a marker was broken, as the model repeats it."""

    def __call__(self, text: str) -> str:
        """Return ``text`` without any marker in it."""
        if self._pattern is None:
            return text
        # Breaking one may uncover a shorter one inside; each round breaks what it finds further on.
        while self._pattern.search(text):
            text = self._pattern.sub(lambda found: found[0][0] + WORD_JOINER + found[0][1:], text)
        return text


class Mended:
    """Takes the invisible character out again where the model repeats a broken marker.

    So its user reads, and copies, what was written; and who goes on with the answer breaks it at the same place again.
    """

    def __init__(self, plain: PlainText, begun: str) -> None:
        """Go on behind the text ``begun``, whose markers ``plain`` has broken."""
        self._pattern = plain.break_pattern
        self._last = begun[-1:]

    def push(self, text: str) -> str:
        """Take new text of the model's, return what its user gets."""
        if self._pattern is None or not text:
            return text
        mended = self._pattern.sub("", self._last + text)[len(self._last) :]
        self._last = text[-1]
        return mended


def markers_of(template: str) -> tuple[str, ...]:
    """List what looks like a marker in a chat template, where nothing else is known of a model: ``<|im_end|>``."""
    return tuple(sorted(set(_IN_TEMPLATE.findall(template))))


NO_MARKERS: Final = PlainText(())
