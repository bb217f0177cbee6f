"""How well ranked pieces of text answer a question: Recall@5 and nDCG@10, as README.md beside this file defines them.

A quote is looked for in a file's text as it was read, which has the words of the page without Markdown's signs. A piece
has a quote if it has all of it, or the longer part.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmarks.retrieval.questions import Passage, Question, Span

RECALL_AT = 5
NDCG_AT = 10

_LINK = re.compile(r"\]\([^)]*\)")
_WORD = re.compile(r"[^\W_]+")
_MOST_OF_IT = 0.5


class Piece(NamedTuple):
    """A piece of a file's text that was found."""

    file: str
    span: Span


class Quality(NamedTuple):
    """Of one question, or the mean of several."""

    recall: float
    ndcg: float


class Texts:
    """The texts of files as they were read, in which quotes are looked for by their words."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._spans = {file: [match.span() for match in _WORD.finditer(text)] for file, text in texts.items()}
        self._words = {
            file: " ".join(text[first:last].lower() for first, last in self._spans[file])
            for file, text in texts.items()
        }

    def locate(self, passage: Passage) -> Span:
        """Where a quote is.

        Raises:
            ValueError: it is not there, or more than once.
        """
        words = " ".join(match[0].lower() for match in _WORD.finditer(_LINK.sub("]", passage.quote)))
        text = f" {self._words[passage.file]} "
        at = text.find(f" {words} ")
        if at < 0 or text.find(f" {words} ", at + 1) >= 0:
            raise ValueError(f"the text of {passage.file} does not have the quote once: {passage.quote!r}")
        first = text[: at + 1].count(" ") - 1
        spans = self._spans[passage.file]
        return Span(spans[first][0], spans[first + words.count(" ")][1])


def quality(question: Question, ranked: Sequence[Piece], pieces: Iterable[Piece], texts: Texts) -> Quality:
    """Judge an order of pieces; ``pieces`` are all there are."""
    quotes = {passage: texts.locate(passage) for passage in question.answers}
    found = [{passage for passage, span in quotes.items() if _has(piece, passage, span)} for piece in ranked]
    answering = set(question.answering)
    seen = answering & set().union(*found[:RECALL_AT])
    recall = len(seen) / len(answering) if question.needs_all else float(bool(seen))
    holding = {passage: [piece for piece in pieces if _has(piece, passage, span)] for passage, span in quotes.items()}
    return Quality(recall, min(1.0, _gain(found) / _best(holding)))


def mean(qualities: Sequence[Quality]) -> Quality:
    return Quality(*(sum(column) / len(qualities) for column in zip(*qualities, strict=True)))


def _gain(found: Sequence[set[Passage]]) -> float:
    """Discounted gain; what two pieces have counts once, in the first."""
    total, seen = 0.0, set[Passage]()
    for rank, passages in enumerate(found[:NDCG_AT], 1):
        new = passages - seen
        total += max(map(_worth, new), default=0) / math.log2(rank + 1)
        seen |= new
    return total


def _best(holding: dict[Passage, list[Piece]]) -> float:
    """The gain of the best order there is: pieces that have most first."""
    left, total = set(holding), 0.0
    for rank in range(1, NDCG_AT + 1):
        if not left:
            break
        best = max(left, key=_worth)
        # The piece with the best passage that is left; what else it has comes with it.
        piece = holding[best][0]
        left -= {passage for passage in left if piece in holding[passage]}
        total += _worth(best) / math.log2(rank + 1)
    return total


def _worth(passage: Passage) -> int:
    return 2**passage.grade - 1


def _has(piece: Piece, passage: Passage, span: Span) -> bool:
    if piece.file != passage.file:
        return False
    shared = min(piece.span.end, span.end) - max(piece.span.start, span.start)
    return shared > _MOST_OF_IT * (span.end - span.start)
