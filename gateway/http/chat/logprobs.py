"""How likely the tokens of an answer were, as OpenAI's chat API writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.tasks.answer_parts import LikelyToken, TokenLogprob


class TopLogprob(Struct, frozen=True, kw_only=True):
    """A token that could have stood in a place."""

    token: str
    logprob: float
    bytes: tuple[int, ...]
    """Its bytes, which one token's text may not be able to show."""


class ContentLogprob(Struct, frozen=True, kw_only=True):
    """A token of the answer."""

    token: str
    logprob: float
    bytes: tuple[int, ...]
    top_logprobs: tuple[TopLogprob, ...]


class LogprobsObject(Struct, frozen=True, kw_only=True):
    """``choices[].logprobs``."""

    content: tuple[ContentLogprob, ...]
    refusal: None = None


def logprobs_object(tokens: Sequence[TokenLogprob]) -> LogprobsObject | None:
    """What there is to say of these tokens; None where it was not asked for."""
    return LogprobsObject(content=tuple(map(_content, tokens))) if tokens else None


def _content(token: TokenLogprob) -> ContentLogprob:
    return ContentLogprob(
        token=token.token,
        logprob=token.logprob,
        bytes=_bytes_of(token),
        top_logprobs=tuple(TopLogprob(token=one.token, logprob=one.logprob, bytes=_bytes_of(one)) for one in token.top),
    )


def _bytes_of(token: TokenLogprob | LikelyToken) -> tuple[int, ...]:
    return tuple(token.token.encode() if token.raw is None else token.raw)
