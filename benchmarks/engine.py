"""What an engine reaches on this machine: no test, numbers to read.

Tokens per second of the same answers one by one and at once, by the clock and by the processor's time (which other work
on the machine disturbs less), and how soon a cancelled answer has let go of its slot.

python -m benchmarks.engine [--engine llama-cpp-python] [--model FILE.gguf] [--rounds 20] [--threads 1]
"""

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from statistics import median
from typing import NamedTuple, get_args

from nodes.engine import DEFAULT_MODEL, Engine, EngineName, EngineSpec, Generate, Piece
from nodes.engines import open_engine
from nodes.engines.llama.xllamacpp import XllamacppEngine
from streams.tasks.chat import Message, Sampling

AT_ONCE = 4
TOKENS = 100
"""Of a measured answer."""
LONG = 1000
"""Of an answer that is cancelled: more than anybody waits for."""
BEFORE_CANCEL = 10
_POLL_S = 0.001


class Rate(NamedTuple):
    """Tokens per second, prompts included."""

    clock: float
    cpu: float
    """Per second of processor time of this process: all threads together."""


class Figures(NamedTuple):
    """What one engine reached."""

    one_by_one: list[Rate]
    together: list[Rate]
    cancel_s: list[float]
    crowded_cancel_s: list[float]


async def measure(
    engine: Engine, busy_slots: Callable[[], int], *, slots: int, rounds: int, tokens: int = TOKENS
) -> Figures:
    """Measure a started engine, alone and crowded in turn; ``busy_slots`` says how many slots the engine works on."""
    figures = Figures([], [], [], [])
    for _ in range(rounds):
        figures.one_by_one.append(await rate(engine, tokens, at_once=1))
        figures.together.append(await rate(engine, tokens, at_once=AT_ONCE))
        figures.cancel_s.append(await cancel_s(engine, busy_slots, others=0))
        if slots >= AT_ONCE:
            figures.crowded_cancel_s.append(await cancel_s(engine, busy_slots, others=AT_ONCE - 1))
    return figures


async def rate(engine: Engine, tokens: int, *, at_once: int) -> Rate:
    """Ask for the same `AT_ONCE` answers, ``at_once`` of them at a time."""
    started, busy = time.perf_counter(), time.process_time()
    written = 0
    for first in range(0, AT_ONCE, at_once):
        stories = [_story(number, tokens) for number in range(first, first + at_once)]
        written += sum(await asyncio.gather(*(_read(engine.generate(story)) for story in stories)))
    return Rate(written / (time.perf_counter() - started), written / (time.process_time() - busy))


async def cancel_s(engine: Engine, busy_slots: Callable[[], int], *, others: int) -> float:
    """Cancel an answer while it is written, with ``others`` beside it; returns how long its slot was still taken."""
    async with asyncio.TaskGroup() as group:
        beside = [group.create_task(_read(engine.generate(_story(number, LONG)))) for number in range(1, others + 1)]
        async with aclosing(engine.generate(_story(0, LONG))) as answer:
            for _ in range(BEFORE_CANCEL):
                await anext(answer)
            while busy_slots() <= others:
                await anext(answer)
            started = time.perf_counter()
            await answer.aclose()
        while busy_slots() > others:  # noqa: ASYNC110  the engine tells nobody when it is done
            await asyncio.sleep(_POLL_S)
        freed_s = time.perf_counter() - started
        for task in beside:
            task.cancel()
    return freed_s


def show(figures: Figures) -> None:
    """Print medians, and the worst of what must not take long."""
    for name, rates in (("one by one", figures.one_by_one), (f"{AT_ONCE} at once, together", figures.together)):
        clock, cpu = median(rate.clock for rate in rates), median(rate.cpu for rate in rates)
        print(f"{name + ':':38} {clock:7.1f} tokens/s, {cpu:7.1f} per second of processor time")
    clock, cpu = (
        median(after[by] / before[by] for before, after in zip(figures.one_by_one, figures.together, strict=True))
        for by in range(len(Rate._fields))
    )
    print(f"{'gain, median of the rounds:':38} {clock:7.2f} by the clock, {cpu:.2f} by processor time")
    for name, times in (("alone", figures.cancel_s), (f"beside {AT_ONCE - 1} others", figures.crowded_cancel_s)):
        if times:
            print(f"{f'cancelled, {name}:':38} {_milliseconds(times)}")


def _milliseconds(times_s: Sequence[float]) -> str:
    return f"slot free after {median(times_s) * 1e3:.1f} ms, at most {max(times_s) * 1e3:.1f} ms ({len(times_s)} times)"


def _story(number: int, tokens: int) -> Generate:
    question = Message(role="user", content=f"Tell me a very long story about sailor number {number}.")
    return Generate(messages=(question,), sampling=Sampling(max_tokens=tokens, temperature=0.8, seed=number))


async def _read(answer: AsyncGenerator[Piece, None]) -> int:
    async with aclosing(answer) as pieces:
        return sum([piece.tokens async for piece in pieces])


async def run(spec: EngineSpec, rounds: int) -> None:
    """Start the engine, measure it and print."""
    engine = open_engine(spec)
    replica = await engine.start()
    print(f"{replica.model} in {replica.engine}, {replica.slots} slots, {rounds} rounds")
    # llama-server's own count, where there is one: ours could only say when we believe that it is free.
    busy = engine.busy_slots if isinstance(engine, XllamacppEngine) else lambda: engine.load().running
    show(await measure(engine, busy, slots=replica.slots, rounds=rounds))
    await engine.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=get_args(EngineName), default="xllamacpp")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    spec = EngineSpec(engine=given.engine, model=given.model, slots=AT_ONCE, threads=given.threads)
    asyncio.run(run(spec, given.rounds))


if __name__ == "__main__":
    main()
