"""Questions to an engine, and what came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nodes.engine import Generate
from nodes.errors import RequestRefused
from streams.tasks.chat import Message, Sampling

if TYPE_CHECKING:
    from nodes.engine import Engine, Piece


def ask(
    question: str, *, prefix: str = "", temperature: float = 0, max_tokens: int | None = None, seed: int | None = None,
    stop: tuple[str, ...] = (),
) -> Generate:  # fmt: skip
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed, stop=stop)
    return Generate(messages=(Message(role="user", content=question),), sampling=sampling, prefix=prefix)


async def pieces_of(engine: Engine, request: Generate) -> list[Piece]:
    return [piece async for piece in engine.generate(request)]


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


async def refusal_of(engine: Engine, request: Generate) -> RequestRefused:
    with pytest.raises(RequestRefused) as refused:
        await pieces_of(engine, request)
    return refused.value
