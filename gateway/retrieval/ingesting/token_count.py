"""How many tokens a text has, more or less: no tokenizer of a model is at hand where files are split.

Meant to be too many rather than too few for the word pieces of small embedding models. A count of two texts one behind
the other is never more than their counts together.
"""

from __future__ import annotations

import re
from typing import Final

_PIECES: Final = re.compile(r"[A-Za-z]+|[0-9]+|\s+|.", re.DOTALL)
_LETTERS_PER_TOKEN: Final = 6
_DIGITS_PER_TOKEN: Final = 2


def token_count(text: str) -> int:
    """Count a word of up to six letters as one token, two digits, and any other character, but no spaces."""
    return sum(map(_tokens_in, _PIECES.findall(text)))


def _tokens_in(piece: str) -> int:
    if piece.isspace():
        return 0
    if not piece.isascii():
        return 1
    if piece.isalpha():
        return -(-len(piece) // _LETTERS_PER_TOKEN)
    return -(-len(piece) // _DIGITS_PER_TOKEN)
