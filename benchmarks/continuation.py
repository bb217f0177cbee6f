"""Is a continued answer the same answer? Cuts greedy answers of real engines and has the rest written: numbers to read.

python -m benchmarks.continuation [--tokens 24] [--every 3]

Prints the table of docs/engines.md. Needs both llama.cpp engines (`make llamacpp`) and the small model; two minutes on
two idle cores.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

from msgspec.structs import replace

from nodes.engine import Engine, EngineName, EngineSpec, Generate, Piece
from nodes.engines import open_engine
from streams.tasks.chat import Message, Sampling
from tests.contract.prompts import PROMPTS

GREEDY = Sampling(temperature=0)
WARM = Sampling(temperature=0.8, seed=7)
ENGINES: tuple[EngineName, EngineName] = ("xllamacpp", "llama-cpp-python")
CROWD = 3
BETWEEN = 4
"""Of which cuts one is tried where little is promised."""


class Row(NamedTuple):
    """One line of the table: how many of the answers came out equal, and for which prompts some did not."""

    what: str
    equal: int
    of: int
    changed: Sequence[str]

    def __str__(self) -> str:
        return f"| {self.what} | {self.equal} of {self.of} | {', '.join(self.changed) or 'none'} |"


class Cut(NamedTuple):
    """Where an answer was interrupted, and all of it, as it would have been."""

    name: str
    begun: Sequence[Piece]
    whole: Sequence[Piece]


class Bench(NamedTuple):
    """What is measured: how long the answers are, and at which pieces they are cut."""

    tokens: int
    every: int

    async def ask(self, engine: Engine, name: str, sampling: Sampling, begun: Sequence[Piece] = ()) -> list[Piece]:
        """Have an answer written, or the rest of one."""
        left = self.tokens - sum(piece.tokens for piece in begun)
        request = Generate(messages=PROMPTS[name], sampling=replace(sampling, max_tokens=left), prefix=text_of(begun))
        return [piece async for piece in engine.generate(request)]

    async def cuts(self, engine: Engine, sampling: Sampling) -> list[Cut]:
        """Every prompt's answer, cut at each ``every``-th piece."""
        wholes = {name: await self.ask(engine, name, sampling) for name in PROMPTS}
        return [Cut(name, whole[:at], whole) for name, whole in wholes.items() for at in self._places(whole)]

    def _places(self, whole: Sequence[Piece]) -> Iterator[int]:
        for at in range(self.every, len(whole), self.every):
            if sum(piece.tokens for piece in whole[:at]) < self.tokens:
                yield at

    async def compare(self, what: str, engine: Engine, cuts: Sequence[Cut], sampling: Sampling = GREEDY) -> Row:
        """Have one engine go on from each cut, one after the other."""
        same = [await self._is_same(engine, cut, sampling) for cut in cuts]
        changed = {cut.name: None for cut, equal in zip(cuts, same, strict=True) if not equal}
        return Row(what, sum(same), len(cuts), list(changed))

    async def _is_same(self, engine: Engine, cut: Cut, sampling: Sampling) -> bool:
        rest = await self.ask(engine, cut.name, sampling, cut.begun)
        return text_of(cut.begun) + text_of(rest) == text_of(cut.whole)


def text_of(pieces: Sequence[Piece]) -> str:
    """Put an answer together."""
    return "".join(piece.text for piece in pieces)


async def opened(stack: AsyncExitStack, name: EngineName, slots: int) -> Engine:
    """Start an engine with the small model."""
    engine = open_engine(EngineSpec(engine=name, context_tokens=512 * slots, slots=slots))
    await engine.start()
    stack.push_async_callback(engine.stop)
    return engine


async def chatter(engine: Engine, topic: str) -> None:
    """Keep one slot busy with answers that nobody compares."""
    request = Generate(messages=(Message(role="user", content=topic),), sampling=Sampling(max_tokens=200, seed=1))
    while True:
        async for _ in engine.generate(request):
            pass


async def in_a_crowd(bench: Bench, stack: AsyncExitStack, cuts: Sequence[Cut]) -> Row:
    """Have answers continued by an engine that writes others at the same time."""
    engine = await opened(stack, ENGINES[0], CROWD)
    others = [asyncio.create_task(chatter(engine, f"Tell me about {topic}.")) for topic in ("ships", "bread")]
    try:
        return await bench.compare("xllamacpp goes on while two other answers run in it", engine, cuts)
    finally:
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def rows(bench: Bench) -> list[Row]:
    """Measure all of it; two engines never run at once, so that none has half a machine."""
    async with AsyncExitStack() as stack:
        xllamacpp, llama_cpp_python = [await opened(stack, name, 1) for name in ENGINES]
        of_x, of_l = await bench.cuts(xllamacpp, GREEDY), await bench.cuts(llama_cpp_python, GREEDY)
        warm = (await bench.cuts(xllamacpp, WARM))[::BETWEEN]
        return [
            await bench.compare("xllamacpp goes on with its own text", xllamacpp, of_x),
            await bench.compare("llama-cpp-python goes on with its own", llama_cpp_python, of_l),
            await bench.compare("llama-cpp-python goes on with xllamacpp's", llama_cpp_python, of_x),
            await bench.compare("xllamacpp goes on with llama-cpp-python's", xllamacpp, of_l),
            await in_a_crowd(bench, stack, of_x[::BETWEEN]),
            await bench.compare("xllamacpp goes on at `temperature: 0.8`, `seed: 7`", xllamacpp, warm, WARM),
        ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--every", type=int, default=3)
    arguments = parser.parse_args()
    begun = time.monotonic()
    table = asyncio.run(rows(Bench(arguments.tokens, arguments.every)))
    print(f"{len(PROMPTS)} prompts, {arguments.tokens} tokens each, cut after every {arguments.every} pieces")
    print("| what was compared with the uninterrupted answer | equal | not always for |\n|---|---|---|")
    print(*table, sep="\n")
    print(f"measured in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
