"""How much of what was found a model gets to read. Tokens are guessed: nobody here has the model's tokenizer."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.stores.messages import FoundPassage

_BYTES_PER_TOKEN: Final = 3
"""Few: code and other languages than English have fewer bytes to a token than the four of English prose."""
_MARK_TOKENS: Final = 64
"""What the marks of one passage take."""
_FRAME_TOKENS: Final = 128
"""What stands around all passages."""
LEAST_TOKENS: Final = _FRAME_TOKENS + 2 * _MARK_TOKENS
"""With less room there is no use in showing anything."""

RESULT_BYTES: Final = 192 * 1024
"""Of text that was found and is kept with the task, which has to fit into one message of the bus."""


class Fitted(NamedTuple):
    """A passage as it may be shown, and its place among what was found."""

    at: int
    passage: FoundPassage


def fitted(found: Sequence[FoundPassage], room_tokens: int) -> tuple[Fitted, ...]:
    """Choose what fits, the best first; of the first, if it alone is too long, what there is room for."""
    left, chosen = room_tokens - _FRAME_TOKENS, list[Fitted]()
    for at, passage in enumerate(found):
        size = tokens_of(passage.text) + _MARK_TOKENS
        if size <= left:
            chosen.append(Fitted(at, passage))
            left -= size
        elif not chosen and left > 2 * _MARK_TOKENS:
            text = _cut(passage.text, (left - _MARK_TOKENS) * _BYTES_PER_TOKEN)
            return (Fitted(at, replace(passage, text=text)),)
    return tuple(chosen)


def woven(searches: Sequence[Sequence[FoundPassage]]) -> tuple[FoundPassage, ...]:
    """What several searches have found as one order: the best of each, then the second of each; each passage once."""
    best: dict[tuple[str, str, int, int], FoundPassage] = {}
    for rank in itertools.zip_longest(*searches):
        for passage in rank:
            if passage is not None:
                best.setdefault(identity(passage), passage)
    return tuple(best.values())


def identity(passage: FoundPassage) -> tuple[str, str, int, int]:
    """What tells a passage from all others, whoever has found it."""
    return passage.store, passage.file, passage.place.first, passage.place.last


def kept(found: Sequence[FoundPassage], searches: int = 1) -> tuple[FoundPassage, ...]:
    """As many of the best as one task can carry, which has so many searches."""
    left = RESULT_BYTES // searches
    chosen: list[FoundPassage] = []
    for passage in found:
        left -= len(passage.text.encode("utf-8", "replace"))
        if left < 0:
            break
        chosen.append(passage)
    return tuple(chosen)


def room_of(*, context_tokens: int, prompt_tokens: int, answer_tokens: int, most_tokens: int) -> int:
    """How many tokens of a model's context are there for passages, beside the question and its answer."""
    answer = min(answer_tokens, context_tokens // 4)
    return max(0, min(most_tokens, context_tokens - prompt_tokens - answer))


def tokens_of(text: str) -> int:
    """Guess how many tokens a text is; rather too many."""
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


def _cut(text: str, most_bytes: int) -> str:
    """The beginning of a text, up to a blank where there is one near."""
    head = text.encode("utf-8", "replace")[:most_bytes].decode("utf-8", "ignore")
    word = head.rsplit(None, 1)[0] if len(head) < len(text) else head
    return word if 2 * len(word) > len(head) else head
