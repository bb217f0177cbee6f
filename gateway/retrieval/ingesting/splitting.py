"""Splitting a document into passages: by its structure where that goes, by tokens where it must.

Passages end where headings, blocks, sentences or lines end, in this order. Each says again some of the one before it,
but never across a heading. Together they hold all of the text. What stands above them is counted in, since it is
embedded with them (``embedded_text``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.retrieval.ingesting.documents import PARAGRAPH
from gateway.retrieval.ingesting.token_count import token_count
from streams.stores.passages import MOST_HEADING_CHARS, MOST_HEADINGS, Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.retrieval.ingesting.documents import Block
    from streams.stores.events import Chunking

_SENTENCE: Final = re.compile(r"(?<=[.!?…。！？])\s+|\n+")  # noqa: RUF001 - these end sentences elsewhere
_LINE: Final = re.compile(r"\n+")
_WORD: Final = re.compile(r"\s+")
_SMALL: Final = 4
"""A passage with less than this part of what it may have does not end for a heading."""
_HALF: Final = 2
_BELOW: Final = " > "
"""Between two headings."""


class Draft(NamedTuple):
    """A passage without its vector."""

    number: int
    text: str
    place: Place
    tokens: int


class _Piece(NamedTuple):
    """What is never parted again: a sentence, say. Fits in a passage by itself."""

    first: int
    last: int
    tokens: int
    block: int
    room: int
    """Tokens of a passage that begins with it: what headings leave."""


class Split(NamedTuple):
    """A document's text, and its passages."""

    text: str
    drafts: tuple[Draft, ...]


def embedded_text(draft: Draft, most_tokens: int) -> str:
    """What is made into a vector: the passage under its headings, as far as these fit; no more than ``most_tokens``."""
    line = _line(draft.place.heading, most_tokens)
    return f"{line}\n{draft.text}" if line else draft.text


def _line(heading: Sequence[str], most_tokens: int) -> str:
    """The innermost headings, in a part of what a passage has."""
    for first in range(len(heading)):
        line = _BELOW.join(heading[first:])
        if token_count(line) * _SMALL <= most_tokens:
            return line
    return ""


def split(blocks: Sequence[Block], chunking: Chunking) -> Split:
    """Split a document; passages are no longer than ``chunking`` says, in tokens as they are counted here."""
    text, pieces, heads = PARAGRAPH.join(block.text for block in blocks), list[_Piece](), list[tuple[str, ...]]()
    first = 0
    above: dict[int, str] = {}
    for number, block in enumerate(blocks):
        if block.kind == "heading":
            above = {level: words for level, words in above.items() if level < block.level} | {block.level: block.text}
        heads.append(tuple(above[level][:MOST_HEADING_CHARS] for level in sorted(above))[-MOST_HEADINGS:])
        room = chunking.most_tokens - token_count(_line(heads[-1], chunking.most_tokens))
        pieces += _pieces(block, first, number, room)
        first += len(block.text) + len(PARAGRAPH)
    spans = _spans(pieces, blocks, chunking)
    drafts = (
        _draft(number, text, pieces[begin], pieces[end - 1], blocks, heads) for number, (begin, end) in enumerate(spans)
    )
    return Split(text, tuple(drafts))


def _draft(
    number: int, text: str, first: _Piece, last: _Piece, blocks: Sequence[Block], heads: Sequence[tuple[str, ...]]
) -> Draft:
    words = text[first.first : last.last]
    place = Place(first=first.first, last=last.last, page=blocks[first.block].page, heading=heads[first.block])
    return Draft(number, words, place, token_count(words))


def _spans(pieces: Sequence[_Piece], blocks: Sequence[Block], chunking: Chunking) -> Iterator[tuple[int, int]]:
    """Which pieces each passage has: from, and up to."""
    begin = 0
    while begin < len(pieces):
        end, is_section_over = _end_of(begin, pieces, blocks)
        yield begin, end
        if end == len(pieces):
            return
        begin = end if is_section_over else _said_again(begin, end, pieces, chunking)


def _end_of(begin: int, pieces: Sequence[_Piece], blocks: Sequence[Block]) -> tuple[int, bool]:
    """Where a passage ends that begins there, and whether a heading follows."""
    tokens, at, last_end, most = pieces[begin].tokens, begin + 1, begin, pieces[begin].room
    while at < len(pieces):
        piece = pieces[at]
        if piece.block != pieces[at - 1].block:
            last_end = at
            is_heading = blocks[piece.block].kind == "heading"
            if is_heading and tokens * _SMALL >= most and _has_words(begin, at, pieces, blocks):
                return at, True
        if tokens + piece.tokens > most:
            break
        tokens += piece.tokens
        at += 1
    if at == len(pieces) or last_end in {begin, at}:
        return at, False
    # Rather than in the middle of a block, where that leaves enough.
    kept = sum(piece.tokens for piece in pieces[begin:last_end])
    return (last_end if kept * _HALF >= most else at), False


def _has_words(begin: int, end: int, pieces: Sequence[_Piece], blocks: Sequence[Block]) -> bool:
    """Whether there is more than headings."""
    return any(blocks[piece.block].kind != "heading" for piece in pieces[begin:end])


def _said_again(begin: int, end: int, pieces: Sequence[_Piece], chunking: Chunking) -> int:
    """Where the next passage begins, so that it says some of this one again, and still has room for what follows."""
    at, tokens = end, 0
    while at - 1 > begin:
        piece = pieces[at - 1]
        tokens += piece.tokens
        if tokens > chunking.overlap_tokens or tokens + pieces[end].tokens > piece.room:
            break
        at -= 1
    return at


def _pieces(block: Block, first: int, number: int, most: int) -> Iterator[_Piece]:
    by_lines = block.kind in {"code", "table"}
    for begin, end in _parts(block.text, 0, len(block.text), _LINE if by_lines else _SENTENCE):
        yield from _fitting(block.text, begin, end, first, number, most)


def _fitting(text: str, begin: int, end: int, first: int, number: int, most: int) -> Iterator[_Piece]:
    """Part what is too long for a passage by words, and a word that is too long anywhere."""
    tokens = token_count(text[begin:end])
    if tokens <= most:
        yield _Piece(first + begin, first + end, tokens, number, most)
        return
    start, last, held = begin, begin, 0
    for word_begin, word_end in _words(text, begin, end, most):
        tokens = token_count(text[word_begin:word_end])
        if held + tokens > most:
            yield _Piece(first + start, first + last, held, number, most)
            start, held = word_begin, 0
        last, held = word_end, held + tokens
    yield _Piece(first + start, first + last, held, number, most)


def _words(text: str, begin: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    for first, last in _parts(text, begin, end, _WORD):
        # A character is one token at most, so ``most`` of them fit whatever they are.
        step = most if token_count(text[first:last]) > most else last - first
        for at in range(first, last, step):
            yield at, min(last, at + step)


def _parts(text: str, begin: int, end: int, between: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """What stands between the matches, without empty ones."""
    at = begin
    for match in between.finditer(text, begin, end):
        if match.start() > at:
            yield at, match.start()
        at = match.end()
    if end > at:
        yield at, end
