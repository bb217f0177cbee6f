"""Measures a freshly loaded engine by one short answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from nodes.engine import Generate
from streams.tasks.chat import Message, Sampling

if TYPE_CHECKING:
    from nodes.engine import Engine

_QUESTION: Final = (
    "Please count from one to one hundred in words, one number on each line, and begin at once. Do not add anything "
    "before or after the numbers, do not explain what you do, and do not stop before you have reached one hundred."
)
_ANSWER_TOKENS: Final = 24


class Speed(Struct, frozen=True, kw_only=True):
    """What one request alone reached; ``None`` where the answer was too short to tell."""

    tokens_per_s: float | None
    prompt_tokens_per_s: float | None


async def measure(engine: Engine) -> Speed:
    """Generate a few tokens and time them, as a caller sees them.

    Raises:
        EngineError: the engine cannot even do that.
    """
    sampling = Sampling(max_tokens=_ANSWER_TOKENS, temperature=0)
    request = Generate(messages=(Message(role="user", content=_QUESTION),), sampling=sampling)
    prompt = answer = 0
    start = first = last = time.perf_counter()
    async for piece in engine.generate(request):
        last = time.perf_counter()
        first = first if answer else last
        answer += piece.tokens
        prompt = piece.usage.prompt_tokens if piece.usage else prompt
    return Speed(tokens_per_s=_rate(answer - 1, last - first), prompt_tokens_per_s=_rate(prompt, first - start))


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 1) if count > 0 and seconds > 0 else None
