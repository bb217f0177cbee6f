"""Logprobs go out with the text of their tokens."""

from nodes.engines.shown_logprobs import ShownLogprobs
from streams.tasks.answer_parts import TokenLogprob


def place(token: str, raw: bytes | None = None) -> TokenLogprob:
    return TokenLogprob(token=token, logprob=-1.0, raw=raw)


def test_a_token_goes_out_with_the_first_character_of_its_own() -> None:
    shown = ShownLogprobs()
    one, two, three = place("one"), place(" two"), place("three")
    shown.add((one, two, three))
    assert shown.of("one") == (one,)
    assert shown.of(" t") == (two,)
    assert shown.of("wo") == ()
    assert shown.of("three") == (three,)
    assert shown.rest() == ()


def test_parts_of_a_character_go_out_together() -> None:
    shown = ShownLogprobs()
    begin, end = place("\ufffd", b"\xf0\x9f"), place("\ufffd", b"\x8c\x8a")
    shown.add((begin,))
    assert shown.of("") == ()
    shown.add((end,))
    assert shown.of("🌊") == (begin, end)


def test_what_no_text_was_shown_of_is_left_for_the_end() -> None:
    shown = ShownLogprobs()
    shown.add((place("stop"),))
    assert shown.rest() == (place("stop"),)
    assert shown.rest() == ()


def test_text_without_tokens_counts_for_nothing_later() -> None:
    shown = ShownLogprobs()
    assert shown.of("much text before there were any") == ()
    shown.add((place("a"), place("b")))
    assert shown.of("a") == (place("a"),)
