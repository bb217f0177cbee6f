"""Which passages an answer rests on, told by its text alone, so that any gateway tells the same of the same answer.

Small models rarely cite by themselves. So a citation is one of three things, and says which (``support``):

``marked``: the model has written the passage's number in brackets there.
``overlap``: the sentence that ends there shares most of its words with the passage, words of the question left out:
who says the question again has said nothing yet.
``prompt``: the model has read the passage, and neither of the others holds for any part of the answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streams.tasks.grounding import Grounding, Source

Support = Literal["marked", "overlap", "prompt"]

MOST_CITATIONS: Final = 128
"""In one answer."""
LEAST_SHARE: Final = 0.6
"""Of a sentence's words, each counted once, but for those of the question, that a passage must have."""
LEAST_WORDS: Final = 3
_WORD: Final = re.compile(r"\w{3,}")
_END: Final = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])[\"'»”)\]]*(?=\s)|\n+|\Z")
_NUMBER: Final = re.compile(r"\[(\d{1,2})\]")


class Citation(NamedTuple):
    """That an answer rests on a passage, up to character ``until`` of its text."""

    until: int
    source: Source
    support: Support


def citations_of(text: str, grounding: Grounding | None) -> tuple[Citation, ...]:
    """Tell what an answer rests on, in the order of its text; nothing, where it says nothing or nothing was read."""
    read = () if grounding is None else grounding.read
    if not read or not text.strip():
        return ()
    asked: frozenset[str] = frozenset() if grounding is None else _words(grounding.query)
    found = [*_marked(text, read), *_overlapping(text, read, asked)]
    if not found:
        end = len(text.rstrip())
        return tuple([Citation(end, source, "prompt") for source in read])
    return tuple(sorted(found, key=lambda one: (one.until, one.source.number))[:MOST_CITATIONS])


def _marked(text: str, read: Sequence[Source]) -> Iterator[Citation]:
    for mark in _NUMBER.finditer(text):
        at = int(mark[1]) - 1
        if 0 <= at < len(read):
            yield Citation(mark.end(), read[at], "marked")


def _overlapping(text: str, read: Sequence[Source], asked: frozenset[str]) -> Iterator[Citation]:
    """The best passage of each sentence that shares enough with one, and that the model has not marked itself."""
    known = [_words(source.found.text) for source in read]
    begin = 0
    for end in sorted({match.start() if match[0].isspace() else match.end() for match in _END.finditer(text)}):
        sentence, begin = text[begin:end], end
        words = _words(_NUMBER.sub("", sentence)) - asked
        if len(words) < LEAST_WORDS or _NUMBER.search(sentence):
            continue
        shares = [len(words & has) for has in known]
        best = max(range(len(read)), key=lambda at: (shares[at], -at))
        if shares[best] >= max(LEAST_WORDS, LEAST_SHARE * len(words)):
            yield Citation(begin, read[best], "overlap")


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))
