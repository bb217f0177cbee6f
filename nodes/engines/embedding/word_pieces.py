"""Parts text as BERT's uncased vocabularies do: words without accents and capitals, and their longest known pieces.

Algorithm: BERT's ``BasicTokenizer`` and ``WordpieceTokenizer`` (Devlin et al. 2018), as the model's own tokenizer file
describes it, but for one thing: ``[SEP]`` and its like inside a text are text here, and not the model's markers.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LONGEST_WORD: Final = 100
_INNER: Final = "##"
_BEGIN: Final = "[CLS]"
_END: Final = "[SEP]"
_UNKNOWN: Final = "[UNK]"
_SPACES: Final = " \t\n\r"
_REPLACEMENT: Final = "\ufffd"

_IDEOGRAPHS: Final = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
"""Each is a word of its own. The model's tokenizer begins the sixth block at 2B920, where Unicode says 2B820."""

_SYMBOLS: Final = frozenset("$+<=>^`|~")
"""Of ASCII, and no punctuation to Unicode, but to BERT."""


class WordPieces:
    """One vocabulary."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        """Take all pieces in the order of their numbers.

        Raises:
            ValueError: it lacks one of BERT's own.
        """
        self._ids = {piece: number for number, piece in enumerate(vocabulary)}
        missing = {_BEGIN, _END, _UNKNOWN} - self._ids.keys()
        if missing:
            raise ValueError(f"the vocabulary has no {', '.join(sorted(missing))}")

    def ids(self, text: str) -> list[int]:
        """Return the numbers of the pieces, with the model's own at both ends."""
        pieces = (piece for word in words(text) for piece in self._pieces(word))
        return [self._ids[_BEGIN], *pieces, self._ids[_END]]

    def _pieces(self, word: str) -> list[int]:
        found: list[int] = []
        at = 0
        while at < len(word):
            piece = self._longest(word, at) if len(word) <= _LONGEST_WORD else None
            if piece is None:
                return [self._ids[_UNKNOWN]]
            end, number = piece
            found.append(number)
            at = end
        return found

    def _longest(self, word: str, at: int) -> tuple[int, int] | None:
        prefix = _INNER if at else ""
        for end in range(len(word), at, -1):
            number = self._ids.get(prefix + word[at:end])
            if number is not None:
                return end, number
        return None


def words(text: str) -> Iterator[str]:
    """Part text at spaces, punctuation and ideographs, in small letters without accents."""
    plain = "".join(_cleaned(letter) for letter in text)
    bare = "".join(letter for letter in unicodedata.normalize("NFD", plain) if unicodedata.category(letter) != "Mn")
    # Letter by letter, because Python writes a sigma at the end of a word otherwise than the model knows it.
    for chunk in "".join(map(str.lower, bare)).split():
        begin = 0
        for at, letter in enumerate(chunk):
            if _is_punctuation(letter):
                if begin < at:
                    yield chunk[begin:at]
                yield letter
                begin = at + 1
        if begin < len(chunk):
            yield chunk[begin:]


def _cleaned(letter: str) -> str:
    if letter in _SPACES or unicodedata.category(letter) == "Zs":
        return " "
    if letter == _REPLACEMENT or unicodedata.category(letter) in {"Cc", "Cf", "Co"}:
        return ""
    code = ord(letter)
    return f" {letter} " if any(first <= code <= last for first, last in _IDEOGRAPHS) else letter


def _is_punctuation(letter: str) -> bool:
    return letter in _SYMBOLS or unicodedata.category(letter).startswith("P")
