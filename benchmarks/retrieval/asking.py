"""The frozen corpus in an index, and all questions asked of it."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple, get_args

from benchmarks.retrieval.questions import Kind, Question, Span, Split, read_corpus, read_questions
from benchmarks.retrieval.scoring import Piece, Quality, Texts, mean, quality
from gateway.retrieval.hybrid import Search, search
from gateway.retrieval.index.index import Index, Origin
from gateway.retrieval.index.qdrant_folder import QdrantFolder
from gateway.retrieval.index.words import Words
from gateway.retrieval.ingesting.documents import Blocks
from gateway.retrieval.ingesting.splitting import Draft, embedded_text, split
from gateway.retrieval.ingesting.texts import read_markdown
from gateway.retrieval.settings import RetrievalSettings
from nodes.embedding import Embed, EmbeddingEngine, EmbeddingSpec
from nodes.engines.embedding import open_embedding_engine
from nodes.errors import RequestRefused
from streams.stores.events import Chunking
from streams.stores.messages import Ranking
from streams.stores.passages import Passage
from streams.tokens import Token

MODEL = "all-minilm-l6-v2"
CHUNKING = Chunking(most_tokens=RetrievalSettings().passage_tokens, overlap_tokens=RetrievalSettings().passage_overlap)
"""As `ig3 retrieval` is set, if nothing else is said."""
WAYS: dict[str, Ranking] = {"meaning": "dense", "words": "lexical", "both": "hybrid"}

_SHELF = "bench.vs_corpus.0000000000000000"
_MOST_CHARS = 1_000_000
_CUT = 0.9


class Corpus(NamedTuple):
    """The corpus as an index has it."""

    texts: Texts
    pieces: tuple[Piece, ...]
    files: dict[Origin, str]


async def measure_quality(folder: Path) -> None:
    """Ask all questions, and print what comes of it by split and kind."""
    engine = open_embedding_engine(EmbeddingSpec())
    await engine.start()
    index = QdrantFolder(folder, Words())
    corpus = await _take_in(index, engine)
    print(f"{len(corpus.pieces)} passages of {len(corpus.files)} pages, {MODEL}")
    print(f"Recall@5 / nDCG@10 by {', by '.join(WAYS)}\n")
    questions = read_questions()
    vectors = {question.id: await _vector(engine, question.question) for question in questions}
    found = {
        way: {question.id: await _ask(index, corpus, question, vectors[question.id], ranking) for question in questions}
        for way, ranking in WAYS.items()
    }
    for part in ("held_out", "tuning"):
        _print(questions, part, found)
    await index.aclose()
    await engine.stop()


async def _take_in(index: Index, engine: EmbeddingEngine) -> Corpus:
    texts: dict[str, str] = {}
    pieces: list[Piece] = []
    files: dict[Origin, str] = {}
    for number, page in enumerate(read_corpus()):
        blocks = Blocks(_MOST_CHARS)
        read_markdown(page.text.encode(), blocks)
        parted = split(blocks.found, CHUNKING)
        origin = Origin(Token(f"file-{number}"), 1)
        files[origin], texts[page.file] = page.file, parted.text
        pieces += [Piece(page.file, Span(draft.place.first, draft.place.last)) for draft in parted.drafts]
        await index.add(_SHELF, origin, [await _passage(engine, draft) for draft in parted.drafts])
    return Corpus(Texts(texts), tuple(pieces), files)


async def _passage(engine: EmbeddingEngine, draft: Draft) -> Passage:
    vector = await _vector(engine, embedded_text(draft, CHUNKING.most_tokens))
    return Passage(number=draft.number, text=draft.text, place=draft.place, tokens=draft.tokens, vector=vector)


async def _vector(engine: EmbeddingEngine, text: str) -> bytes:
    """Embed a text; of the few that are a little too long, what fits."""
    while True:
        try:
            return (await engine.embed(Embed(texts=(text,)))).vectors[0]
        except RequestRefused:
            text = text[: int(len(text) * _CUT)]


async def _ask(index: Index, corpus: Corpus, question: Question, vector: bytes, ranking: Ranking) -> Quality:
    searches = [Search(_SHELF, MODEL)]
    found = await search(index, searches, {MODEL: vector}, question.question, ranking=ranking, limit=10)
    places = [(corpus.files[one.match.origin], one.match.place) for one in found]
    ranked = [Piece(file, Span(place.first, place.last)) for file, place in places]
    return quality(question, ranked, corpus.pieces, corpus.texts)


def _print(questions: tuple[Question, ...], part: Split, found: dict[str, dict[str, Quality]]) -> None:
    by_kind: dict[str, list[str]] = defaultdict(list)
    for question in questions:
        if question.split == part:
            by_kind["all"].append(question.id)
            by_kind[question.kind].append(question.id)
    print(part)
    for kind in ("all", *get_args(Kind)):
        means = [mean([found[way][one] for one in by_kind[kind]]) for way in WAYS]
        told = "   ".join(f"{each.recall:.3f} / {each.ndcg:.3f}" for each in means)
        print(f"  {kind:12} {len(by_kind[kind]):4}   {told}")
    print()
