"""Stop strings: found wherever the text is cut, never shown, nothing else lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodes.engines.answer_writer import AnswerWriter
from nodes.engines.llama.plain_text import NO_MARKERS, Mended
from nodes.engines.stops import StopFilter
from streams.tasks.chat import Usage

LETTERS = st.text(alphabet="ab🌊", max_size=12)


def shown(stops: tuple[str, ...], pieces: list[str]) -> tuple[str, bool]:
    stop_filter = StopFilter(stops)
    text = "".join([stop_filter.push(piece) for piece in pieces])
    return text + stop_filter.rest(), stop_filter.hit


@given(pieces=st.lists(LETTERS, max_size=8), stop=st.text(alphabet="ab🌊", min_size=1, max_size=4))
def test_text_is_shown_up_to_the_stop_string_however_it_is_cut(pieces: list[str], stop: str) -> None:
    before, found, _ = "".join(pieces).partition(stop)
    assert shown((stop,), pieces) == (before, bool(found))


@given(pieces=st.lists(LETTERS, max_size=8), stops=st.lists(st.text("ab🌊", min_size=1, max_size=4), max_size=4))
def test_no_stop_string_is_ever_shown(pieces: list[str], stops: list[str]) -> None:
    text, hit = shown(tuple(stops), pieces)
    assert not any(stop in text for stop in stops)
    assert hit == any(stop in "".join(pieces) for stop in stops)
    assert "".join(pieces).startswith(text)


def test_only_what_may_begin_a_stop_string_is_held_back() -> None:
    stop_filter = StopFilter(("END", "DONE"))
    assert [stop_filter.push(text) for text in ("one E", "N", "C", " DON", "UT")] == ["one ", "", "ENC", " ", "DONUT"]


def test_the_first_of_several_stop_strings_counts() -> None:
    assert shown(("later", "now"), ["it is now, later"]) == ("it is ", True)


def test_a_piece_counts_the_tokens_that_were_held_back() -> None:
    writer = AnswerWriter(("END",), Mended(NO_MARKERS, ""), prompt_tokens=3)
    assert writer.add("E") is None
    piece = writer.add("gg")
    assert piece is not None
    assert (piece.text, piece.tokens, piece.finish_reason) == ("Egg", 2, None)


def test_a_stop_string_makes_the_last_piece() -> None:
    writer = AnswerWriter(("END",), Mended(NO_MARKERS, ""), prompt_tokens=3)
    writer.add("so")
    last = writer.add(" END of it")
    assert writer.finished
    assert last is not None
    assert (last.text, last.tokens, last.finish_reason) == (" ", 1, "stop")
    assert last.usage == Usage(prompt_tokens=3, completion_tokens=2)


def test_held_back_text_is_not_lost_when_the_answer_ends_otherwise() -> None:
    writer = AnswerWriter(("END",), Mended(NO_MARKERS, ""))
    last = writer.add("the EN", ends="length")
    assert last is not None
    assert (last.text, last.finish_reason) == ("the EN", "length")


def test_the_first_piece_with_text_tells_how_long_the_prompt_is() -> None:
    writer = AnswerWriter(("END",), Mended(NO_MARKERS, ""), prompt_tokens=3)
    pieces = [writer.add(text) for text in ("E", "gg", "s")]
    assert [None if piece is None else piece.prompt_tokens for piece in pieces] == [None, 3, None]


def test_a_guess_of_the_prompt_is_told_only_when_the_answer_is_whole() -> None:
    writer = AnswerWriter((), Mended(NO_MARKERS, ""), prompt_tokens=3)
    writer.knows_prompt = False
    writer.cached_prompt_tokens = 5
    piece, last = writer.add("so"), writer.end("stop")
    assert piece is not None
    assert piece.prompt_tokens is None
    assert last.usage == Usage(prompt_tokens=3, completion_tokens=1, cached_prompt_tokens=3)
