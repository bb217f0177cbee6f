"""The questions by which retrieval is measured, and the passages that answer them: README.md beside this file.

Corpus and questions are read from this folder as they were committed; nothing is fetched or worked out anew.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import msgspec

FOLDER = Path(__file__).parent
CORPUS = FOLDER / "corpus"
QUESTIONS = FOLDER / "questions.jsonl"

Kind: TypeAlias = Literal["exact_term", "paraphrase", "symptom", "comparison", "how_to", "number"]
Split: TypeAlias = Literal["tuning", "held_out"]

ANSWERS = 2
"""The grade of a passage that answers its question; 1 is that of one which helps."""

TUNED_ONE_OF = 3
"""One question of so many may be used for tuning."""


class Page(NamedTuple):
    """A page of the frozen corpus."""

    file: str
    """Where it is below ``corpus/``, such as ``docs/cache.md``."""
    text: str


class Span(NamedTuple):
    """A piece of a page, in characters (code points), the end not included."""

    start: int
    end: int


class Passage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place of the corpus that answers a question, or helps."""

    file: str
    heading: str
    """The nearest heading above the quote, without its number signs."""
    quote: str
    """Letter by letter as in the page, line breaks too. It occurs once in the whole corpus."""
    grade: Literal[1, 2]
    """2: it answers the question, alone or (``needs_all``) with the others; 1: it helps."""


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question, and all passages that are known to answer it."""

    id: str
    """Follows from the question's words (`id_of`): another question has another id."""
    question: str
    kind: Kind
    split: Split
    """Follows from the id (`split_of`), so nobody chooses it."""
    answers: tuple[Passage, ...]
    """At least one of grade 2."""
    needs_all: bool = False
    """Whether all passages of grade 2 are needed; else each of them is enough."""

    @property
    def answering(self) -> tuple[Passage, ...]:
        """The passages of grade 2."""
        return tuple(each for each in self.answers if each.grade == ANSWERS)


def read_corpus() -> tuple[Page, ...]:
    """All pages, by name."""
    files = sorted(CORPUS.rglob("*.md"))
    return tuple(Page(path.relative_to(CORPUS).as_posix(), path.read_text(encoding="utf-8")) for path in files)


def read_questions(split: Split | None = None) -> tuple[Question, ...]:
    """The questions in the order of the file; with `split`, only those of it.

    Raises:
        msgspec.ValidationError: A line is no question; the message says which field is wrong.
    """
    lines = QUESTIONS.read_bytes().splitlines()
    questions = (msgspec.json.decode(line, type=Question) for line in lines)
    return tuple(each for each in questions if split in (None, each.split))


def normalised(text: str) -> str:
    """The words of a text in lower case, with one space between them: equal for questions that differ in signs only."""
    return " ".join(re.findall(r"\w+", text.lower()))


def id_of(question: str) -> str:
    """The id of a question with these words."""
    return f"q-{hashlib.sha256(normalised(question).encode()).hexdigest()[:10]}"


def split_of(question_id: str) -> Split:
    """Whether a question may be used for tuning, or is held out for the figure that counts."""
    drawn = int(hashlib.sha256(question_id.encode()).hexdigest(), 16) % TUNED_ONE_OF
    return "tuning" if drawn == 0 else "held_out"


def locate(passage: Passage, page: Page) -> Span:
    """Where a passage is in its page.

    Raises:
        ValueError: The quote is not there, or `page` is another one.
    """
    if page.file != passage.file:
        raise ValueError(f"the quote is of {passage.file}, and the page is {page.file}")
    start = page.text.find(passage.quote)
    if start < 0:
        raise ValueError(f"{page.file} does not have the quote {passage.quote!r}: corpus and questions do not fit")
    return Span(start, start + len(passage.quote))


def headings(text: str) -> Iterator[tuple[int, str]]:
    """Where each heading of a page begins, and its words; what stands in fenced code is none."""
    start, fenced = 0, False
    for line in text.splitlines(keepends=True):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and re.match(r"#{1,6} ", line):
            yield start, line.lstrip("#").strip()
        start += len(line)


def heading_at(page: Page, position: int) -> str:
    """The nearest heading above a position (in characters); empty above the first one."""
    above = [heading for start, heading in headings(page.text) if start <= position]
    return above[-1] if above else ""
