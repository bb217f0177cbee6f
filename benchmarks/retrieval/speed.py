"""Searching a shelf of many passages: their words are runs of the corpus and rare ones, their vectors are drawn."""

import random
import re
import resource
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median, quantiles

from benchmarks.retrieval.questions import read_corpus, read_questions
from gateway.retrieval.hybrid import Search, search
from gateway.retrieval.index.index import Index, Origin
from gateway.retrieval.index.qdrant_folder import QdrantFolder
from gateway.retrieval.index.words import Words
from streams.stores.messages import Ranking
from streams.stores.passages import Passage, Place
from streams.tokens import Token

DIMENSIONS = 384
MODEL = "drawn"
WORDS_EACH = 110
PER_FILE = 100
ROUNDS = 200

_SHELF = "bench.vs_speed.0000000000000000"
_RUN = 8
_RARE = 0.3
_RARE_WORDS = 200_000
_FILE_OF_FILTER = 10


async def measure_speed(folder: Path, count: int) -> None:
    """Fill a shelf, search it, and print how long that takes."""
    dice = random.Random(7)
    index = QdrantFolder(folder, Words())
    passages = _passages(dice)
    started = time.perf_counter()
    for first in range(0, count, PER_FILE):
        await index.add(_SHELF, _origin(first), [next(passages) for _ in range(min(PER_FILE, count - first))])
    took_s = time.perf_counter() - started
    print(f"{count} passages of {DIMENSIONS} numbers and {WORDS_EACH} words: added in {took_s:.0f} s, {_rss_mb()} MB")
    queries = [question.question for question in read_questions()]
    some = frozenset(_origin(first) for first in range(0, count, PER_FILE * _FILE_OF_FILTER))

    def asking(ranking: Ranking, among: frozenset[Origin] | None = None) -> Callable[[], Awaitable[object]]:
        return lambda: _search(index, dice, queries, ranking, among)

    for what, ask in (
        ("by meaning", asking("dense")),
        ("by words", asking("lexical")),
        ("by both, joined", asking("hybrid")),
        (f"by both, of one file in {_FILE_OF_FILTER}", asking("hybrid", some)),
    ):
        print(f"  {what:34} {await _told(ask)}", flush=True)
    await index.aclose()
    started = time.perf_counter()
    index = QdrantFolder(folder, Words())
    held = sum((await index.held(_SHELF)).values())
    print(f"opened again and counted ({held}): {time.perf_counter() - started:.2f} s; most memory {_rss_mb()} MB")
    await index.aclose()


async def _search(
    index: Index, dice: random.Random, queries: list[str], ranking: Ranking, among: frozenset[Origin] | None
) -> None:
    searches = [Search(_SHELF, MODEL, among)]
    await search(index, searches, {MODEL: _vector(dice)}, dice.choice(queries), ranking=ranking, limit=20)


async def _told(ask: Callable[[], Awaitable[object]]) -> str:
    """Say how long it takes by the clock, which other work on the machine shares, and in processor time."""
    clock: list[float] = []
    processor: list[float] = []
    for _ in range(ROUNDS):
        started, began = time.perf_counter(), time.process_time()
        await ask()
        clock.append(1000 * (time.perf_counter() - started))
        processor.append(1000 * (time.process_time() - began))
    parts = quantiles(clock, n=20)
    return f"p50 {parts[9]:6.2f} ms, p95 {parts[18]:6.2f} ms; processor time p50 {median(processor):6.2f} ms"


def _passages(dice: random.Random) -> Iterator[Passage]:
    words = re.findall(r"\w+", " ".join(page.text for page in read_corpus()))
    number = 0
    while True:
        said: list[str] = []
        while len(said) < WORDS_EACH:
            at = dice.randrange(len(words) - _RUN)
            said += words[at : at + _RUN]
            if dice.random() < _RARE:
                said.append(f"w{int(dice.paretovariate(0.6)) % _RARE_WORDS}")
        text = " ".join(said)
        yield Passage(
            number=number % PER_FILE, text=text, place=Place(first=0, last=len(text)), tokens=1, vector=_vector(dice)
        )
        number += 1


def _vector(dice: random.Random) -> bytes:
    return struct.pack(f"<{DIMENSIONS}f", *[dice.gauss(0, 1) for _ in range(DIMENSIONS)])


def _origin(first: int) -> Origin:
    return Origin(Token(f"file-{first // PER_FILE}"), 1)


def _rss_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
