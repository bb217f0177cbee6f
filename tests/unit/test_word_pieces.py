"""Texts in the pieces of BERT's uncased vocabularies; expectations are those of the model's own tokenizer file."""

from __future__ import annotations

import pytest

from nodes.engines.embedding.word_pieces import WordPieces, words

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##afford", "##able", "happy", "[", "]", "sep", "a")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", ["hello", ",", "world", "!"]),
        ("naïve CAFÉ Ångström", ["naive", "cafe", "angstrom"]),
        ("海は青い", ["海", "は", "青", "い"]),
        ("don't stop_now $5<7", ["don", "'", "t", "stop", "_", "now", "$", "5", "<", "7"]),
        ("x\u200by\u0000z\tq\r\n\u3000a\u2028b", ["xyz", "q", "a", "b"]),
        ("ΔΣ", ["δ\u03c3"]),
        ("\ufffd \u00ad", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert list(words(text)) == expected


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("unaffordable happy", ["un", "##afford", "##able", "happy"]),
        ("unhappy", ["[UNK]"]),
        ("a" * 101, ["[UNK]"]),
        ("", []),
        ("[SEP]", ["[", "sep", "]"]),
    ],
)
def test_the_longest_known_pieces_are_taken(text: str, pieces: list[str]) -> None:
    ids = WordPieces(VOCABULARY).ids(text)
    assert [VOCABULARY[number] for number in ids] == ["[CLS]", *pieces, "[SEP]"]


def test_a_vocabulary_without_the_models_own_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[SEP\]"):
        WordPieces(("[CLS]", "[UNK]"))
