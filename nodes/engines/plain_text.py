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


class PlainText:
    """Breaks the markers of one model."""

    def __init__(self, markers: Iterable[str]) -> None:
        """Take the texts of all control tokens; one of a single character cannot be broken."""
        breakable = sorted((marker for marker in markers if len(marker) > 1), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, breakable))) if breakable else None

    def __call__(self, text: str) -> str:
        """Return ``text`` without any marker in it."""
        if self._pattern is None:
            return text
        # Breaking one may uncover a shorter one inside; each round breaks what it finds further on.
        while self._pattern.search(text):
            text = self._pattern.sub(lambda found: found[0][0] + WORD_JOINER + found[0][1:], text)
        return text


NO_MARKERS: Final = PlainText(())
