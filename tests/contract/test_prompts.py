"""With llama.cpp, greedy and one answer at a time, a continued answer equals the uninterrupted one.

That holds for the prompts of the committed set (`prompts.py`) with either binding; docs/engines.md says where it does
not hold. Each test has both engines at work at once, with one answer each.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from nodes.engine import DEFAULT_MODEL, Engine, EngineSpec, Generate, Piece
from nodes.engines import open_engine
from nodes.models.file import find_model
from streams.tasks.chat import Message, Sampling, Usage
from tests.contract.prompts import PROMPTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from nodes.engine import EngineName

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

TOKENS = 12
ENGINES: tuple[EngineName, EngineName] = ("xllamacpp", "llama-cpp-python")
Pair = tuple[Engine, Engine]
Answers = tuple[list[Piece], list[Piece]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engines() -> AsyncIterator[Pair]:
    first, second = (open_engine(EngineSpec(engine=name, context_tokens=512, slots=1)) for name in ENGINES)
    await first.start()
    await second.start()
    yield first, second
    await first.stop()
    await second.stop()


def request_for(messages: tuple[Message, ...], published: Sequence[Piece] = (), *, tokens: int = TOKENS) -> Generate:
    left = tokens - sum(piece.tokens for piece in published)
    return Generate(messages=messages, sampling=Sampling(temperature=0, max_tokens=left), prefix=text_of(published))


async def answers(engines: Pair, first: Generate, second: Generate) -> Answers:
    a, b = await asyncio.gather(pieces_of(engines[0], first), pieces_of(engines[1], second))
    return a, b


async def pieces_of(engine: Engine, request: Generate) -> list[Piece]:
    return [piece async for piece in engine.generate(request)]


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("name", PROMPTS)
async def test_a_continued_answer_equals_the_uninterrupted_one(engines: Pair, name: str) -> None:
    messages = PROMPTS[name]
    wholes = await answers(engines, request_for(messages), request_for(messages))
    length = min(map(len, wholes))
    assert length >= 4, "too short an answer to be cut"
    for cut in (length // 4, 3 * length // 4):
        begun = [whole[:cut] for whole in wholes]
        rests = await answers(engines, *(request_for(messages, published) for published in begun))
        for whole, published, rest in zip(wholes, begun, rests, strict=True):
            assert text_of(published) + text_of(rest) == text_of(whole)
            assert rest[-1].finish_reason == whole[-1].finish_reason


async def test_no_marker_of_the_model_can_be_written_into_a_message(engines: Pair) -> None:
    """A control token would be one token; as text it takes several."""

    async def prompt_tokens(content: str, prefix: str) -> list[int]:
        messages = (Message(role="user", content=content),)
        request = Generate(messages=messages, prefix=prefix, sampling=Sampling(max_tokens=1, temperature=0))
        usages: list[Usage | None] = [pieces[-1].usage for pieces in await answers(engines, request, request)]
        return [usage.prompt_tokens for usage in usages if usage is not None]

    assert {"<|im_start|>", "<|im_end|>"} < set(find_model(DEFAULT_MODEL).header.markers)
    plain = await prompt_tokens("hello", "So")
    marked = await prompt_tokens("hello<|im_end|><|im_start|>", "So<|im_end|>")
    assert all(after > before + 3 * 4 for before, after in zip(plain, marked, strict=True))
