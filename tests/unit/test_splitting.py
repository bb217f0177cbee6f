"""Passages hold all of a text in its order, at the places that they name, and none is longer than it may be."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.retrieval.ingesting.documents import MOST_SPACES, Block, cleaned
from gateway.retrieval.ingesting.splitting import Draft, embedded_text, split
from gateway.retrieval.ingesting.token_count import token_count
from streams.stores.events import Chunking

_LETTERS = st.characters(codec="utf-8")
_WORDS = st.text(_LETTERS | st.sampled_from("aaaa....   \n\n?!。"), min_size=1, max_size=300).map(cleaned).filter(bool)
_KINDS = st.sampled_from(["heading", "paragraph", "item", "code", "table"])
_BLOCKS = st.lists(
    st.builds(Block, text=_WORDS, kind=_KINDS, level=st.integers(1, 3), page=st.none() | st.integers(1, 3)), max_size=8
)
_CHUNKING = st.integers(16, 60).flatmap(
    lambda most: st.builds(Chunking, most_tokens=st.just(most), overlap_tokens=st.integers(0, most // 2))
)


def drafts_of(*blocks: Block, most: int = 16, overlap: int = 0) -> tuple[Draft, ...]:
    return split(blocks, Chunking(most_tokens=most, overlap_tokens=overlap)).drafts


@given(blocks=_BLOCKS, chunking=_CHUNKING)
def test_passages_hold_the_whole_text_in_order_and_none_is_too_long(blocks: list[Block], chunking: Chunking) -> None:
    text, drafts = split(blocks, chunking)
    covered = 0
    for number, draft in enumerate(drafts):
        assert draft.number == number
        assert draft.text == text[draft.place.first : draft.place.last]
        assert draft.text
        assert 0 < draft.tokens == token_count(draft.text)
        assert token_count(embedded_text(draft, chunking.most_tokens)) <= chunking.most_tokens
        # Only what is no word may lie between two passages.
        assert not text[covered : draft.place.first].strip()
        assert draft.place.last > covered
        covered = draft.place.last
    assert not text[covered:].strip()
    firsts = [draft.place.first for draft in drafts]
    assert firsts == sorted(set(firsts))


@given(text=st.text(_LETTERS, max_size=200), other=st.text(_LETTERS, max_size=200))
def test_two_texts_together_are_no_more_tokens_than_each_for_itself(text: str, other: str) -> None:
    assert token_count(text + other) <= token_count(text) + token_count(other) <= len(text) + len(other)


def test_a_passage_says_where_it_stands() -> None:
    drafts = drafts_of(
        Block(text="Rules", kind="heading", level=1),
        Block(text="Of sleep", kind="heading", level=2, page=1),
        Block(text="one two three four five six seven eight.", page=2),
        Block(text="Of food", kind="heading", level=2, page=3),
        Block(text="one two three four.", page=3),
    )
    assert [(draft.place.heading, draft.place.page) for draft in drafts] == [
        (("Rules",), None),
        (("Rules", "Of food"), 3),
    ]
    assert drafts[1].text == "Of food\n\none two three four."


def test_what_is_embedded_is_the_passage_under_its_headings_as_far_as_they_fit() -> None:
    head = [Block(text=text, kind="heading", level=level) for level, text in enumerate(("one two three", "four"), 1)]
    first, *_, last = drafts_of(*head, Block(text="a b c d e f. g h i j k l m n o p q r s."))
    assert embedded_text(first, 16).startswith("one two three\none two three\n\nfour")
    assert last.place.heading == ("one two three", "four")
    assert embedded_text(last, 16) == f"four\n{last.text}"
    assert embedded_text(last, 100) == f"one two three > four\n{last.text}"


def test_a_new_section_begins_a_passage_unless_the_one_before_is_tiny() -> None:
    head = Block(text="Next", kind="heading", level=1)
    assert len(drafts_of(Block(text="one"), head, Block(text="two"))) == 1
    assert len(drafts_of(Block(text="one two three four"), head, Block(text="two"))) == 2


def test_a_passage_says_the_end_of_the_one_before_again_but_not_across_a_heading() -> None:
    sentences = " ".join(f"This is sentence number {number}." for number in "abcdef")
    first, second, *_ = drafts_of(Block(text=sentences), overlap=8)
    assert first.text.endswith("number b.")
    assert second.text.startswith("This is sentence number b.")
    parted = drafts_of(
        Block(text=sentences), Block(text="Next", kind="heading", level=1), Block(text="word"), overlap=8
    )
    assert parted[-1].text == "Next\n\nword"


def test_a_word_longer_than_a_passage_is_parted_anywhere() -> None:
    drafts = drafts_of(Block(text="x" * 1000))
    assert "".join(draft.text for draft in drafts) == "x" * 1000


def test_gaps_in_a_text_are_bounded_since_spaces_count_for_nothing() -> None:
    assert cleaned(f"a{' ' * 10_000}b") == f"a{' ' * MOST_SPACES}b"
    assert token_count(" \n\t") == 0
