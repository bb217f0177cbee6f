"""Finds out whether a server goes on with a raw prompt as it stands, and what else it does behind one.

A server may well take ``/v1/completions`` and put its chat template around the prompt; such a one is not announced.
"""

from __future__ import annotations

import logging
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from nodes.engine import Generate
from nodes.engines.remote.experiments import SHORT_TOKENS, STORY_TOKENS, Heard, cut_of, goes_on
from nodes.errors import EngineError
from streams.tasks.chat import Sampling, TokenBias

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from nodes.engine import Piece
    from streams.devices.replica import Ability

    Ask = Callable[[Generate], AsyncGenerator[Piece, None]]

log = logging.getLogger(__name__)

_TALE: Final = Generate(
    prompt="In the evening the old man went down to the sea. There he",
    sampling=Sampling(max_tokens=STORY_TOKENS, temperature=0),
)
_LETTER: Final = Generate(prompt="a", sampling=Sampling(max_tokens=1, temperature=0))
_LETTER_TOKENS: Final = 3
"""A letter, a beginning of text and a space before it; every template has more."""
_WISHED: Final = 1000
"""A token that every vocabulary has."""
_MOST_BIAS: Final = 100.0


async def raw_abilities_of(ask: Ask, without: Sequence[Ability], able: Sequence[Ability]) -> tuple[Ability, ...]:
    """Try what a server does with raw prompts that is ``able`` to do so much in a chat; four short answers at most.

    Returns ``raw_prompt`` and what of the rest works behind one too; nothing, where it does not go on with it as it
    stands, or ``without`` names that.
    """
    if "raw_prompt" in without:
        return ()
    try:
        letter = await _heard(ask, _LETTER)
        tale = await _heard(ask, _with(_TALE, top_logprobs=2 if "logprobs" in able else None))
        if not _has_no_template(letter) or not await _goes_on(ask, _story_of(tale)):
            log.info("the server does not go on with a raw prompt as it stands: that is not announced")
            return ()
        biased = _with(_LETTER, logit_bias=(TokenBias(token=_WISHED, bias=_MOST_BIAS),))
        is_biased = "logit_bias" in able and _text(await _heard(ask, biased)) != _text(letter)
    except EngineError as error:
        log.info("the server does not take a raw prompt: %s", error)
        return ()
    shown = any(place.top for piece in tale for place in piece.logprobs)
    also: dict[Ability, bool] = {"logprobs": shown, "logit_bias": is_biased}
    return ("raw_prompt", *(ability for ability, works in also.items() if works))


def _has_no_template(letter: list[Piece]) -> bool:
    """Whether nothing was put around a letter; a server that counts nothing is believed."""
    usage = letter[-1].usage
    return usage is not None and usage.prompt_tokens <= _LETTER_TOKENS


async def _goes_on(ask: Ask, tale: Heard) -> bool:
    """Whether the prompt with half of the answer behind it is gone on with by the other half."""
    at = cut_of(tale)
    if at is None:
        return False
    rest = await _heard(ask, replace(_with(_TALE, max_tokens=SHORT_TOKENS), prefix=tale.text[:at]))
    return goes_on(tale.text, at, _text(rest))


def _story_of(pieces: list[Piece]) -> Heard:
    cuts = tuple(accumulate(len(piece.text) for piece in pieces))
    return Heard(text=_text(pieces), cuts=cuts, first_s=0.0, last_s=0.0)


def _with(request: Generate, **sampling: object) -> Generate:
    return replace(request, sampling=replace(request.sampling, **sampling))


async def _heard(ask: Ask, request: Generate) -> list[Piece]:
    return [piece async for piece in ask(request)]


def _text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)
