"""No marker of a model comes through in what people write, and nothing else is touched."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nodes.engine import Generate
from nodes.engines.conversation import conversation_of
from nodes.engines.llama.plain_text import WORD_JOINER, Mended, PlainText
from streams.tasks.chat import Message

MARKERS = ("<|im_end|>", "<|im_start|>", "<s>", "</s>", "<<s>>", "s>", "[INST]")
plain = PlainText(MARKERS)
parts = st.sampled_from((*MARKERS, "<", ">", "|", "s", "im_end", " ", "x", "🌊"))


@given(st.lists(parts, max_size=30).map("".join))
def test_no_marker_is_left_and_every_letter_is(text: str) -> None:
    written = plain(text)
    assert not any(marker in written for marker in MARKERS)
    assert written.replace(WORD_JOINER, "") == text


@given(st.text())
def test_a_text_without_markers_is_left_alone(text: str) -> None:
    if not any(marker in text for marker in MARKERS):
        assert plain(text) == text
    assert PlainText(())(text) == text


def test_breaking_one_marker_uncovers_no_other() -> None:
    assert plain("<<s>>") == "<\u2060<\u2060s\u2060>>"


def test_all_that_people_wrote_is_made_plain() -> None:
    turns = (Message(role="developer", content="a<s>"), Message(role="assistant", content="b<s>"))
    request = Generate(messages=(*turns, Message(role="tool", content="c<s>")), prefix="d<s>")
    conversation = conversation_of(request, PlainText(("<s>",)))
    assert [turn.content for turn in conversation.turns] == ["a<\u2060s>", "b<\u2060s>", "c<\u2060s>"]
    assert conversation.begun == "d<\u2060s>"


def test_a_marker_that_the_seam_would_join_is_broken_too() -> None:
    request = Generate(
        messages=(Message(role="user", content="x"), Message(role="assistant", content="<")), prefix="s>"
    )
    assert "<s>" not in conversation_of(request, PlainText(("<s>",))).begun


@given(st.lists(parts, max_size=30).map("".join), st.lists(st.integers(0, 60), max_size=8))
def test_a_model_that_repeats_a_broken_marker_is_read_as_it_was_written(text: str, cuts: list[int]) -> None:
    """However its answer comes in pieces, and wherever a first node stopped."""
    said = plain(text)
    edges = [0, *sorted(cut for cut in cuts if cut <= len(said)), len(said)]
    pieces = [said[start:end] for start, end in pairwise(edges)]
    first, then = Mended(plain, ""), Mended(plain, "".join(pieces[:2]))
    published = "".join(first.push(piece) for piece in pieces[:2])
    assert published + "".join(first.push(piece) for piece in pieces[2:]) == text
    assert published + "".join(then.push(piece) for piece in pieces[2:]) == text


def test_an_invisible_character_elsewhere_is_left_to_the_model() -> None:
    assert Mended(plain, "").push(f"a{WORD_JOINER}b") == f"a{WORD_JOINER}b"
    assert Mended(PlainText(()), "").push(f"<{WORD_JOINER}b") == f"<{WORD_JOINER}b"
