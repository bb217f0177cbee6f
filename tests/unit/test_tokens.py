"""No name from outside can add a part, a wildcard or a space to a subject."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.errors import InvalidToken, StreamsError
from streams.tokens import encode_name, token
from tests.unit.event_strategies import TEXT

SAFE = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

HOSTILE = [
    "",
    ".",
    "a.b",
    "*",
    ">",
    "a*",
    "$JS",
    "a b",
    "a\tb",
    "a\r\nPUB billing.x 0",
    "a\n",
    "\0",
    "é",
    "аdmin",  # noqa: RUF001  # the Cyrillic a is the point
    "٣",
    "ａ",  # noqa: RUF001  # so is the full-width one
    "🙂",
    "a/b",
    "a:b",
    "a" * 65,
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_no_token(text: str) -> None:
    with pytest.raises(InvalidToken, match="not a subject token"):
        token(text)


@pytest.mark.parametrize("text", ["a", "A-Z_9", "-", "_", "0", "x" * 64])
def test_plain_text_is_a_token_as_it_is(text: str) -> None:
    assert token(text) == text


@given(st.text())
def test_a_token_is_the_text_itself_or_refused(text: str) -> None:
    if SAFE.match(text):
        assert token(text) == text
    else:
        with pytest.raises(InvalidToken):
            token(text)


def test_the_refusal_of_a_huge_name_stays_short() -> None:
    with pytest.raises(InvalidToken) as refusal:
        token("n" * 1_000_000)
    assert len(str(refusal.value)) < 200
    assert isinstance(refusal.value, StreamsError)


@pytest.mark.parametrize("name", [text for text in HOSTILE if text != "\ud800"])
def test_hostile_names_are_encoded_as_one_token(name: str) -> None:
    assert SAFE.match(encode_name(name))


NAMES = st.one_of(
    st.text(TEXT, max_size=80),
    st.from_regex(r"[xh]-[0-9a-v]{0,62}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_-]{1,66}", fullmatch=True),
)


@given(NAMES, NAMES)
@example("é", "x-oekg")
@example("", "x-")
@example("a.b", "x-c4n64")
@example("Qwen", "qwen")
def test_distinct_names_get_distinct_tokens(one: str, other: str) -> None:
    assert SAFE.match(encode_name(one))
    assert (encode_name(one) == encode_name(other)) == (one == other)


@given(NAMES)
def test_the_token_of_a_name_cannot_be_claimed_by_naming_a_model_like_it(name: str) -> None:
    encoded = encode_name(name)
    if encoded != name:
        assert encode_name(encoded) != encoded


@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).filter(lambda name: not name.startswith(("x-", "h-"))))
def test_a_name_that_is_a_token_stays_readable(name: str) -> None:
    assert encode_name(name) == name


def test_known_names_keep_their_tokens_for_ever() -> None:
    assert encode_name("smollm2-135m-instruct") == "smollm2-135m-instruct"
    assert encode_name("meta-llama/Llama-3.1-8B") == "x-dlin8o9ddhm62rb15t66oobdc4mj6bhh5ks44"
    assert encode_name("a" * 65) == "h-635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0a"


def test_half_a_character_is_refused() -> None:
    with pytest.raises(InvalidToken, match="half a character"):
        encode_name("model-\ud83d")
