"""What two questions must have in common before the answer to one is given to the other."""

import struct

import pytest

from benchmarks.similar import read_pairs
from gateway.cache.guard import guard_of
from gateway.cache.similar import LONGEST_TEXT, distance_of, shelf_of, unit_of
from streams.events import TaskSubmitted
from streams.tasks.chat import ImagePart, Message, TextPart
from streams.tokens import Token

ACCOUNT, SECRET = Token("lab"), b"secret"


def shelf(text: str, *, secret: bytes = SECRET, account: Token = ACCOUNT, embedder: str = "m", **fields: object):
    messages = (Message(role="system", content="Be brief."), Message(role="user", content=text))
    task = TaskSubmitted(**{"model": "m", "messages": messages} | fields)  # pyright: ignore[reportArgumentType] - fields by name
    return shelf_of(secret, account, task, embedder=embedder)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Why is the sky blue?", "please tell me why the sky is blue"),
        ("How do I boil an egg?", "What is the way to boil eggs?"),
        ("What\N{RIGHT SINGLE QUOTATION MARK}s an API?", "What is an API"),
        ("How old is Rome?", "What is the age of Rome?"),
    ],
)
def test_words_that_are_light_do_not_tell_questions_apart(one: str, other: str):
    assert guard_of(one) == guard_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is 97 prime?", "Is 91 prime?"),
        ("What costs 1.5 kg?", "What costs 15 kg?"),
        ("Is it legal?", "Isn't it legal?"),
        ("Can I return it?", "How can I return it?"),
        ("Should I take it?", "Can I take it?"),
        ("Convert euros to dollars", "Convert dollars to euros"),
        ("Where was she born?", "When was she born?"),
        ("a < b?", "a > b?"),
        ("Was ist 世界?", "Was ist 世?"),
        ("Turn it off", "Turn it on"),
        ("What is the price?", "What was the price?"),
    ],
)
def test_words_that_weigh_do(one: str, other: str):
    assert guard_of(one) != guard_of(other)


def test_of_pairs_that_only_look_alike_hardly_any_passes():
    passed = [pair for pair in read_pairs() if not pair.is_same and guard_of(pair.one) == guard_of(pair.other)]
    assert len(passed) <= 1


def test_everything_else_of_a_request_names_another_shelf():
    usual = shelf("Why is the sky blue?")
    assert usual is not None
    assert shelf("Please: why is the sky blue?") == usual._replace(text="Please: why is the sky blue?")
    others = [
        shelf("Why is the sky blue?", **{name: value})  # pyright: ignore[reportArgumentType] - fields by name
        for name, value in {"secret": b"x", "account": Token("b"), "embedder": "n", "model": "n"}.items()
    ]
    assert len({usual.slot, *(other.slot for other in others if other is not None)}) == 5


def test_what_has_no_last_question_in_words_is_on_no_shelf():
    assert shelf("x" * (LONGEST_TEXT + 1)) is None
    assert shelf("  ") is None
    assert shelf("hi", messages=(Message(role="assistant", content="hi"),)) is None
    parts = (TextPart(text="hi"), ImagePart(media_type="image/png", data=b"x"))
    assert shelf("hi", messages=(Message(role="user", content="hi", parts=parts),)) is None
    assert shelf("hi", messages=(), texts=("hi",)) is None


def test_a_distance_is_one_less_the_cosine():
    def unit(*numbers: float) -> tuple[float, ...]:
        return unit_of(struct.pack(f"<{len(numbers)}f", *numbers))

    assert distance_of(unit(3, 0), unit(1, 0)) == pytest.approx(0)
    assert distance_of(unit(3, 0), unit(2, 2)) == pytest.approx(1 - 0.5**0.5)
    assert distance_of(unit(1, 0), unit(1)) == distance_of(unit(1, 0), unit(0, 0)) == 2
