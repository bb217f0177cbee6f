"""Base58: against an independent library, bounded, and one text for each value."""

import base58 as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidEncoding
from mesh.identity import base58


@given(st.binary(max_size=90))
def test_it_writes_and_reads_what_an_independent_library_does(raw: bytes) -> None:
    text = oracle.b58encode(raw).decode()
    assert base58.encode(raw) == text
    assert base58.decode(text) == raw


@given(st.text(alphabet="123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", max_size=120))
def test_no_value_has_two_texts(text: str) -> None:
    assert base58.encode(base58.decode(text)) == text


@given(st.text(max_size=300))
def test_any_other_text_is_refused_by_name(text: str) -> None:
    try:
        base58.decode(text)
    except InvalidEncoding:
        return
    assert set(text) <= set("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")


@pytest.mark.parametrize("character", ["0", "O", "I", "l", " ", "é", "\N{ARABIC-INDIC DIGIT ONE}"])
def test_look_alikes_are_no_digits(character: str) -> None:
    with pytest.raises(InvalidEncoding, match="not a character of base58"):
        base58.decode(f"abc{character}def")


def test_long_texts_are_not_even_read() -> None:
    assert len(base58.decode("1" * base58.MAX_CHARACTERS)) == base58.MAX_CHARACTERS
    with pytest.raises(InvalidEncoding, match="too many"):
        base58.decode("1" * (base58.MAX_CHARACTERS + 1))
    with pytest.raises(InvalidEncoding, match="too many"):
        base58.encode(b"\xff" * 91)
