"""What it costs to hold an answer to a schema, by llama-cpp-python: no test, numbers to read.

Three ways by turns, in tokens per second of processor time: free text; JSON under a schema where the grammar looks at
the whole vocabulary for each token; and as the engine does it, where it looks at the chosen token first. The last two
must write the same (temperature 0).

python -m benchmarks.schemas [--model FILE.gguf] [--rounds 5] [--threads 1]
"""

import argparse
import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from statistics import median

from nodes.engine import DEFAULT_MODEL, Engine, EngineSpec, Generate
from nodes.engines import open_engine
from nodes.engines.llama import sequence as llama_sequence
from nodes.engines.llama.context import LlamaContext
from nodes.engines.llama.sampler import LlamaSampler
from streams.tasks.chat import Message, Sampling
from streams.tasks.tools import OutputFormat

TOKENS = 100
SCHEMA = """{"type": "object", "required": ["name", "country", "sights", "people"], "properties": {
    "name": {"type": "string", "maxLength": 30}, "country": {"type": "string", "maxLength": 30},
    "sights": {"type": "array", "minItems": 3, "maxItems": 5, "items": {"type": "string", "maxLength": 80}},
    "people": {"type": "integer", "minimum": 0, "maximum": 9000000}}}"""
QUESTION = Message(role="user", content="Describe the city of Paris as JSON: name, country, sights, people.")


class FilteringFirst(LlamaSampler):
    """Has the grammar strike out all that may not stand there before anything is chosen."""

    def choose(self, context: LlamaContext, place: int) -> int:
        if self._grammar is None:
            return super().choose(context, place)
        token = self._best_of(context.logits(place), self._grammar)
        for sampler in (self._grammar, self._chain):
            self._api.llama_sampler_accept(sampler, token)
        return token


@dataclass(kw_only=True)
class Way:
    """One way to write, and what it reached in each round."""

    name: str
    sampler: type[LlamaSampler] = LlamaSampler
    schema: str | None = SCHEMA
    rates: list[float] = field(default_factory=list)
    text: str = ""

    async def measure(self, engine: Engine) -> None:
        """Write the answer once."""
        llama_sequence.LlamaSampler = self.sampler
        asked = Generate(
            messages=(QUESTION,),
            sampling=Sampling(max_tokens=TOKENS, temperature=0),
            format=None
            if self.schema is None
            else OutputFormat(kind="json_schema", schema_json=self.schema, strict=True),
        )
        started, tokens, self.text = time.process_time(), 0, ""
        async with aclosing(engine.generate(asked)) as pieces:
            async for piece in pieces:
                tokens += piece.tokens
                self.text += piece.text
        self.rates.append(tokens / (time.process_time() - started))


async def run(spec: EngineSpec, rounds: int) -> None:
    """Start the engine, measure and print."""
    free = Way(name="free text", schema=None)
    whole = Way(name="schema, the whole vocabulary", sampler=FilteringFirst)
    first = Way(name="schema, the chosen token first")
    engine = open_engine(spec)
    await engine.start()
    for number in range(rounds + 1):
        for way in (free, whole, first):
            await way.measure(engine)
            if number == 0:  # The first round warms up.
                way.rates.clear()
    await engine.stop()
    for way in (free, whole, first):
        print(f"{way.name + ':':34} {median(way.rates):6.1f} tokens per second of processor time")
    gain = median(after / before for before, after in zip(whole.rates, first.rates, strict=True))
    print(
        f"{'gain, median of the rounds:':34} {gain:6.2f}; the same text: {'yes' if whole.text == first.text else 'NO'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    spec = EngineSpec(engine="llama-cpp-python", model=given.model, slots=1, threads=given.threads)
    asyncio.run(run(spec, given.rounds))


if __name__ == "__main__":
    main()
