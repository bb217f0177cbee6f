"""Counts that a node gives for its answer: what can be true, what may be a fault, and what is a lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dispatcher.plausible import Fault, believed_prompt_tokens, usage_fault
from streams.events import Seam, TaskChunk, TaskSubmitted
from streams.tasks.chat import Message, Sampling, Usage
from streams.tasks.task import TaskState
from tests.unit.event_strategies import TEXT

QUESTION = TaskSubmitted(
    model="m",
    messages=(Message(role="system", content="Be brief."), Message(role="user", content="Grüße?", name="ada")),
)
PROMPT_BOUND = 1024 + 16 + 9 + 16 + 8 + 3


def chunk(text: str, tokens: int, *, n: int = 2) -> TaskChunk:
    return TaskChunk(n=n, attempt=1, offset=0, text=text, tokens=tokens)


def fault(
    *chunks: TaskChunk,
    usage: Usage | None = None,
    asked: TaskSubmitted = QUESTION,
    earlier_tokens: int = 0,
    prefix_bytes: int = 0,
    seam: Seam | None = None,
) -> Fault | None:
    tokens = earlier_tokens + sum(one.tokens for one in chunks)
    said = usage or Usage(prompt_tokens=5, completion_tokens=tokens)
    state = TaskState(tokens=tokens, seam=seam, usage=said)
    return usage_fault(asked, state, said, chunks, prefix_bytes=prefix_bytes)


def verdict(found: Fault | None) -> str:
    return "true" if found is None else "a lie" if found.is_lie else "a fault"


@given(st.lists(st.text(TEXT, min_size=1, max_size=9), min_size=1, max_size=9))
def test_a_token_for_each_byte_can_be_true(texts: list[str]) -> None:
    chunks = [chunk(text, len(text.encode())) for text in texts]
    assert fault(*chunks) is None


@pytest.mark.parametrize("text", ["", "x" * 100, "é" * 50, "🙂" * 25])
@pytest.mark.parametrize(("too_many", "expected"), [(0, "true"), (1, "a fault"), (10_000, "a lie")])
def test_more_tokens_than_bytes_are_not_believed(text: str, too_many: int, expected: str) -> None:
    assert verdict(fault(chunk(text, len(text.encode()) + 64 + too_many))) == expected


def test_what_one_chunk_has_too_many_no_later_text_makes_good() -> None:
    assert verdict(fault(chunk("x", 70), chunk("y" * 1000, 1))) == "a fault"
    assert verdict(fault(chunk("y" * 1000, 1), chunk("x", 70))) == "true"


def test_what_is_held_back_for_a_stop_may_come_to_nothing() -> None:
    asked = TaskSubmitted(model="m", messages=QUESTION.messages, sampling=Sampling(stop=("x" * 200, "é" * 50)))
    assert fault(chunk("", 64 + 300), asked=asked) is None
    assert verdict(fault(chunk("", 64 + 301), asked=asked)) == "a fault"


@pytest.mark.parametrize(("seam", "expected"), [("replayed", "true"), ("continued", "a fault")])
def test_a_replay_may_count_the_text_before_it_otherwise(seam: Seam, expected: str) -> None:
    again = chunk("x", 1 + 64 + 50)
    assert verdict(fault(again, seam=seam, prefix_bytes=50, earlier_tokens=10)) == expected


@pytest.mark.parametrize("completion_tokens", [0, 9, 11, 2**53 - 1])
def test_a_usage_that_contradicts_the_chunks_is_a_lie(completion_tokens: int) -> None:
    usage = Usage(prompt_tokens=5, completion_tokens=completion_tokens)
    assert verdict(fault(chunk("x" * 40, 6), usage=usage, earlier_tokens=4)) == "a lie"


def test_more_cached_than_there_is_is_a_lie() -> None:
    usage = Usage(prompt_tokens=5, completion_tokens=1, cached_prompt_tokens=6)
    assert verdict(fault(chunk("x", 1), usage=usage)) == "a lie"


@pytest.mark.parametrize(
    ("prompt_tokens", "expected"),
    [
        (0, "true"),
        (PROMPT_BOUND, "true"),
        (PROMPT_BOUND + 1, "a fault"),
        (4 * PROMPT_BOUND, "a fault"),
        (4 * PROMPT_BOUND + 1, "a lie"),
        (2**53 - 1, "a lie"),
    ],
)
def test_a_prompt_has_no_more_tokens_than_bytes_and_what_a_template_adds(prompt_tokens: int, expected: str) -> None:
    usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=1)
    assert verdict(fault(chunk("x", 1), usage=usage)) == expected


def test_a_text_that_was_there_before_may_count_as_prompt() -> None:
    usage = Usage(prompt_tokens=PROMPT_BOUND + 10, completion_tokens=1)
    assert fault(chunk("x", 1), usage=usage, prefix_bytes=10) is None


@pytest.mark.parametrize(("tokens", "expected"), [(8, "true"), (9, "a fault")])
def test_no_more_is_believed_than_was_asked_for(tokens: int, expected: str) -> None:
    asked = TaskSubmitted(model="m", messages=QUESTION.messages, sampling=Sampling(max_tokens=8))
    assert verdict(fault(chunk("some words of it", tokens), asked=asked)) == expected


def test_a_fault_says_numbers_and_no_word_of_the_answer() -> None:
    found = fault(chunk("secret", 1000))
    assert found is not None
    assert "secret" not in found.message
    assert "1000 completion tokens" in found.message


@pytest.mark.parametrize(("claim", "believed"), [(None, None), (0, 0), (PROMPT_BOUND, PROMPT_BOUND), (10**9, None)])
def test_what_a_node_says_of_a_prompt_is_believed_up_to_what_the_question_can_be(
    claim: int | None, believed: int | None
) -> None:
    assert believed_prompt_tokens(QUESTION, claim) == believed
