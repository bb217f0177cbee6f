"""What only the synthetic engine promises."""

from __future__ import annotations

import asyncio

import pytest

from nodes.engine import EngineSpec, Generate, Piece
from nodes.engines import open_engine
from nodes.errors import EngineUnavailable
from streams.devices.replica import Replica
from streams.tasks.chat import Message, Sampling


async def answer(question: str, *, prefix: str = "", max_tokens: int | None = None) -> list[Piece]:
    engine = open_engine(EngineSpec(engine="synthetic"))
    await engine.start()
    messages = (Message(role="user", content=question),)
    request = Generate(messages=messages, sampling=Sampling(max_tokens=max_tokens), prefix=prefix)
    return [piece async for piece in engine.generate(request)]


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


async def test_its_replica_claims_nothing_it_did_not_measure() -> None:
    spec = EngineSpec(engine="synthetic", token_delay_ms=20, slots=3, model_id="mine", without=("vision", "tools"))
    assert await open_engine(spec).start() == Replica(
        model="mine",
        engine="synthetic",
        context_tokens=2048,
        slots=3,
        tokens_per_s=50.0,
        abilities=("schema", "logprobs", "logit_bias", "raw_prompt"),
    )


async def test_an_answer_has_50_tokens_of_one_piece_each_and_ends_by_itself() -> None:
    pieces = await answer("hi")
    assert [piece.tokens for piece in pieces] == [1] * 50
    assert pieces[-1].finish_reason == "stop"


async def test_max_tokens_is_exact_far_beyond_the_context() -> None:
    pieces = await answer("hi", max_tokens=5000)
    assert len(pieces) == 5000
    assert pieces[-1].finish_reason == "length"


async def test_the_same_messages_give_the_same_text_and_others_another() -> None:
    assert await answer("hi") == await answer("hi")
    assert text_of(await answer("hi")) != text_of(await answer("ho"))


async def test_prompt_tokens_are_words() -> None:
    usage = (await answer("  one two\nthree "))[-1].usage
    assert usage is not None
    assert usage.prompt_tokens == 3


async def test_it_continues_wherever_the_text_was_cut() -> None:
    whole = text_of(await answer("hi"))
    for cut in range(len(whole)):
        assert whole.startswith(whole[:cut] + text_of(await answer("hi", prefix=whole[:cut])))
    words = whole.split()
    rest = await answer("hi", prefix=" ".join(words[:20]) + " ")
    assert text_of(rest).split() == words[20:]


async def test_a_prefix_of_another_making_is_continued_too() -> None:
    assert len(await answer("hi", prefix="Once upon a time", max_tokens=4)) == 4


async def test_each_token_has_its_time_from_the_start_so_a_slow_consumer_delays_nothing() -> None:
    loop = asyncio.get_running_loop()
    engine = open_engine(EngineSpec(engine="synthetic", token_delay_ms=20))
    await engine.start()
    request = Generate(messages=(Message(role="user", content="hi"),), sampling=Sampling(max_tokens=10))
    start = loop.time()
    arrivals: list[float] = []
    async for _ in engine.generate(request):
        arrivals.append(loop.time() - start)
        if len(arrivals) == 1:
            await asyncio.sleep(0.1)
    assert all(at >= n * 0.02 - 0.001 for n, at in enumerate(arrivals, start=1))


async def test_without_delay_the_loop_gets_its_turns() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count_turns())
    await answer("hi", max_tokens=1000)
    counter.cancel()
    assert turns >= 100


async def test_an_engine_that_was_not_started_refuses() -> None:
    engine = open_engine(EngineSpec(engine="synthetic"))
    with pytest.raises(EngineUnavailable, match="not started"):
        await anext(engine.generate(Generate(messages=(Message(role="user", content="hi"),))))


async def test_one_that_varies_never_writes_what_it_should_nor_any_beginning_twice() -> None:
    engine = open_engine(EngineSpec(engine="synthetic", synthetic="varies"))
    await engine.start()
    request = Generate(messages=(Message(role="user", content="hi"),), sampling=Sampling(max_tokens=1))
    beginnings = [text_of([piece async for piece in engine.generate(request)]) for _ in range(300)]
    assert len({text_of(await answer("hi", max_tokens=1)), *beginnings}) == 301
