"""The question set for retrieval is what its README says: quotes are where it says, and no question is like another."""

import hashlib
import itertools
import re
from collections import Counter

import msgspec
import pytest

from benchmarks.retrieval.questions import (
    CORPUS,
    FOLDER,
    Page,
    Passage,
    Question,
    heading_at,
    id_of,
    locate,
    normalised,
    read_corpus,
    read_questions,
    split_of,
)

PAGES = {page.file: page for page in read_corpus()}
QUESTIONS = read_questions()
PASSAGES = [(each, passage) for each in QUESTIONS for passage in each.answers]

# Words that say nothing of what a text is about.
FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
    a about after again all also am an and any anything are as at be been before being but by can could did do
    does don done each even ever every everybody everyone everything few for from get gets got had has have he
    her hers him his how i if in into is it its just let ll long many may me might more most much must my no
    nobody nor not now of off on once one only or other others our out over own per re same several she should
    so some somebody someone something soon still such than that the their theirs them then there these they
    this those through to too under until up us use used using ve very was we were what when where whether which
    while who whom whose why will with without would yet you your yours
        """,
    )
)
ENDINGS = ("ingly", "ing", "ied", "ies", "ed", "es", "s", "ly")


def stem(word: str) -> str:
    ending = next((each for each in ENDINGS if word.endswith(each) and len(word) - len(each) >= 3), "")
    return word.removesuffix(ending)


def stems(text: str) -> set[str]:
    words = re.findall(r"[a-z0-9_]+", text.lower())
    return {stem(word) for word in words if word not in FUNCTION_WORDS and len(word) > 1}


def shared(question: Question) -> set[str]:
    return stems(question.question) & set().union(*(stems(each.quote) for each in question.answering))


def test_the_corpus_is_as_it_was_frozen():
    lines = (line.split("  ", 1) for line in (FOLDER / "corpus.sha256").read_text().splitlines())
    listed = {file: digest for digest, file in lines}
    found = {
        path.relative_to(CORPUS).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in CORPUS.rglob("*")
        if path.is_file()
    }
    assert found == listed


def test_every_quote_is_once_in_the_corpus_and_below_its_heading():
    for question, passage in PASSAGES:
        page = PAGES[passage.file]
        assert sum(each.text.count(passage.quote) for each in PAGES.values()) == 1, (question.question, passage.quote)
        assert heading_at(page, locate(passage, page).start) == passage.heading, (question.question, passage.quote)


def test_quotes_are_short_and_no_question_has_one_twice():
    assert [passage.quote for _, passage in PASSAGES if not 8 <= len(passage.quote) <= 200] == []
    for question in QUESTIONS:
        assert len({each.quote for each in question.answers}) == len(question.answers), question.question


def test_every_question_is_answered_and_those_that_need_two_passages_have_them():
    assert [each.question for each in QUESTIONS if not each.answering] == []
    assert [each.question for each in QUESTIONS if each.needs_all and len(each.answering) < 2] == []
    assert sum(each.needs_all for each in QUESTIONS) >= 10


def test_ids_and_splits_follow_from_the_words_of_the_question():
    assert [each.question for each in QUESTIONS if each.id != id_of(each.question)] == []
    assert [each.question for each in QUESTIONS if each.split != split_of(each.id)] == []
    assert id_of("What is a  ZOMBIE") == id_of("What is a zombie?") == "q-15c97b0480"


def test_two_thirds_are_held_out_of_every_kind():
    assert {each.id for each in read_questions("tuning")} | {each.id for each in read_questions("held_out")} == {
        each.id for each in QUESTIONS
    }
    assert 0.28 <= len(read_questions("tuning")) / len(QUESTIONS) <= 0.39
    assert min(Counter(each.kind for each in read_questions("held_out")).values()) >= 15


def test_there_are_enough_questions_of_each_kind_and_page():
    kinds = Counter(each.kind for each in QUESTIONS)
    pages = Counter(file for each in QUESTIONS for file in {passage.file for passage in each.answering})
    assert len(QUESTIONS) >= 220
    assert len(kinds) == 6
    assert min(kinds.values()) >= 20
    assert pages.keys() == PAGES.keys()
    assert min(pages.values()) >= 5


def test_a_third_are_paraphrases_that_share_no_word_with_their_answers():
    paraphrases = [each for each in QUESTIONS if each.kind == "paraphrase"]
    assert len(paraphrases) >= len(QUESTIONS) / 3
    assert {each.question: shared(each) for each in paraphrases if shared(each)} == {}
    others = [each for each in QUESTIONS if each.kind != "paraphrase"]
    assert sum(bool(shared(each)) for each in others) > len(others) * 0.8, "the comparison of words finds nothing"


def test_no_two_questions_are_alike():
    assert [text for text, times in Counter(normalised(each.question) for each in QUESTIONS).items() if times > 1] == []
    words = [(each.question, stems(each.question)) for each in QUESTIONS]
    alike = [(a, b) for (a, one), (b, two) in itertools.combinations(words, 2) if len(one & two) > len(one | two) / 2]
    assert alike == []


def test_a_quote_that_is_not_in_its_page_is_an_error():
    passage = Passage(file="docs/a.md", heading="A", quote="is not there", grade=2)
    with pytest.raises(ValueError, match="does not have the quote"):
        locate(passage, Page("docs/a.md", "# A\n\nNothing.\n"))
    with pytest.raises(ValueError, match="the page is docs/b"):
        locate(passage, Page("docs/b.md", "is not there"))


def test_a_number_sign_in_code_is_no_heading():
    page = Page("a.md", "# A\n\n```sh\n# a remark\nig3 up\n```\n\n## B\n\ntext\n")
    assert heading_at(page, page.text.index("ig3 up")) == "A"
    assert heading_at(page, page.text.index("text")) == "B"
    assert heading_at(Page("b.md", "text"), 0) == ""


def test_a_line_of_another_kind_is_refused():
    line = msgspec.json.encode(QUESTIONS[0]).replace(QUESTIONS[0].kind.encode(), b"riddle")
    with pytest.raises(msgspec.ValidationError, match="riddle"):
        msgspec.json.decode(line, type=Question)
