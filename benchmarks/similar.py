"""How often the answer to another question would be given, and rightly: ``python -m benchmarks.similar``.

The pairs were labelled and committed before the semantic cache and its threshold. Every other one was used to choose
these; the others are the figure that counts. With ``--wrong`` it prints the pairs of the first half that are judged
otherwise than a person does. Needs the small embedding model, as ``make up`` installs it.
"""

import asyncio
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gateway.cache.guard import guard_of
from gateway.cache.rules import CacheRules
from nodes.embedding import Embed, EmbeddingSpec
from nodes.engines.embedding import open_embedding_engine

SET: Final = Path(__file__).with_name("similar_set") / "pairs.txt"
DISTANCES: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
_AT_ONCE: Final = 16
_FLOAT_BYTES: Final = 4


class Pair(NamedTuple):
    """Two questions, and what a person says of them."""

    label: str
    one: str
    other: str

    @property
    def is_same(self) -> bool:
        """Whether an answer to the one answers the other."""
        return self.label == "same"

    @property
    def is_guarded(self) -> bool:
        """Whether they differ in words that weigh."""
        return guard_of(self.one) != guard_of(self.other)


class Judged(NamedTuple):
    """A pair, and how far apart its vectors are."""

    pair: Pair
    distance: float


def read_pairs() -> list[Pair]:
    """All labelled pairs, in the order of the file."""
    return [Pair(*line.split("|")) for line in SET.read_text(encoding="utf-8").splitlines() if line]


async def judged(pairs: Sequence[Pair]) -> list[Judged]:
    """Have the vectors made."""
    texts = tuple(dict.fromkeys(text for pair in pairs for text in (pair.one, pair.other)))
    engine = open_embedding_engine(EmbeddingSpec())
    await engine.start()
    try:
        made: list[bytes] = []
        for at in range(0, len(texts), _AT_ONCE):
            made += (await engine.embed(Embed(texts=texts[at : at + _AT_ONCE]))).vectors
    finally:
        await engine.stop()
    vectors = {
        text: struct.unpack(f"<{len(vector) // _FLOAT_BYTES}f", vector)
        for text, vector in zip(texts, made, strict=True)
    }
    return [Judged(pair, 1 - _cosine(vectors[pair.one], vectors[pair.other])) for pair in pairs]


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _print(name: str, half: Sequence[Judged]) -> None:
    same, other = [one for one in half if one.pair.is_same], [one for one in half if not one.pair.is_same]
    print(f"{name}: {len(same)} pairs that mean the same, {len(other)} that only look alike")
    print("  distance  without guard: hits, false hits    with guard: hits, false hits")
    for most in DISTANCES:
        cells: list[str] = []
        for is_guarded in (False, True):
            for part in (same, other):
                count = sum(1 for one in part if one.distance <= most and not (is_guarded and one.pair.is_guarded))
                cells.append(f"{count:3} ({count / len(part):6.1%})")
        mark = "*" if most == CacheRules().similar_distance else " "
        print(f"  {most:6.2f} {mark}   {cells[0]}  {cells[1]}              {cells[2]}  {cells[3]}")


def main() -> None:
    """Measure and print."""
    found = asyncio.run(judged(read_pairs()))
    _print("chosen by", found[0::2])
    _print("reported", found[1::2])
    if "--wrong" in sys.argv:
        most = CacheRules().similar_distance
        for pair, distance in found[0::2]:
            if pair.is_same != (distance <= most and not pair.is_guarded):
                print(f"{pair.label} {distance:.3f}: {pair.one} | {pair.other}")


if __name__ == "__main__":
    main()
