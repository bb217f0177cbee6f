"""What every engine asks of the texts of a request before it works on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nodes.embedding import MOST_TEXTS
from nodes.errors import RequestRefused

if TYPE_CHECKING:
    from nodes.embedding import Embed

PROBE: Final = "The quick brown fox jumps over the lazy dog, and goes home when the sun is low. " * 4
"""What an engine is measured with."""


def check(request: Embed) -> None:
    """Refuse what is no list of texts.

    Raises:
        RequestRefused: ``invalid_input``.
    """
    if not 0 < len(request.texts) <= MOST_TEXTS:
        raise RequestRefused("invalid_input", f"give 1 to {MOST_TEXTS} texts, not {len(request.texts)}")
    for number, text in enumerate(request.texts):
        if not text:
            raise RequestRefused("invalid_input", f"text {number} is empty: a vector can be had of words only")


def too_long(number: int, tokens: int, context_tokens: int) -> RequestRefused:
    """Make the refusal of a text that is longer than what the model reads."""
    return RequestRefused(
        "context_length_exceeded",
        f"text {number} has {tokens} tokens and this model's context holds {context_tokens}: part it",
    )
