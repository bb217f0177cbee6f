"""The chain that a node signs: no change of what it wrote, and none of where, leaves it as it was."""

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.events import TaskChunk
from streams.subjects import TaskKey
from streams.tasks import chunk_chain
from streams.tasks.chat import Usage
from streams.tasks.vectors import Vectors
from streams.tokens import Token
from tests.unit.event_strategies import TEXT

KEY = TaskKey(Token("local"), Token("019b7a3e00007abc8def012345678900"))
NODE = Token("n1")
COUNTS = st.integers(0, 2**53 - 1)
USAGES = st.builds(Usage, prompt_tokens=COUNTS, completion_tokens=COUNTS, cached_prompt_tokens=COUNTS)


@st.composite
def answers(draw: st.DrawFn) -> tuple[TaskChunk, ...]:
    """The chunks of one attempt, from anywhere in an answer."""
    texts = draw(st.lists(st.text(TEXT, min_size=1, max_size=8), min_size=1, max_size=6))
    n, offset = draw(st.integers(2, 1000)), draw(st.integers(0, 1000))
    chunks: list[TaskChunk] = []
    for text in texts:
        chunks.append(TaskChunk(n=n, attempt=1, offset=offset, text=text, tokens=draw(st.integers(0, 9))))
        n, offset = n + 1, offset + len(text)
    last = replace(chunks[-1], finish_reason=draw(st.sampled_from(("stop", "length"))), usage=draw(USAGES))
    return (*chunks[:-1], last)


def head_of(chunks: tuple[TaskChunk, ...], key: TaskKey = KEY, attempt: int = 1, node: str = NODE) -> bytes:
    return chunk_chain.extend_all(chunk_chain.begin(key, attempt, node), chunks)


CHANGES: dict[str, Callable[[TaskChunk], TaskChunk]] = {
    "counter": lambda chunk: replace(chunk, n=chunk.n + 1),
    "offset": lambda chunk: replace(chunk, offset=chunk.offset + 1),
    "more text": lambda chunk: replace(chunk, text=chunk.text + "x"),
    "less text": lambda chunk: replace(chunk, text=chunk.text[1:]),
    "other text": lambda chunk: replace(chunk, text=("y" if chunk.text[0] == "x" else "x") + chunk.text[1:]),
    "tokens": lambda chunk: replace(chunk, tokens=chunk.tokens + 1),
    "tokens for offset": lambda chunk: replace(chunk, tokens=chunk.offset, offset=chunk.tokens + chunk.n),
    "ends": lambda chunk: replace(chunk, finish_reason=None if chunk.finish_reason else "stop"),
    "reason": lambda chunk: replace(chunk, finish_reason="length" if chunk.finish_reason == "stop" else "stop"),
    "usage": lambda chunk: replace(
        chunk, finish_reason="stop", usage=None if chunk.usage else Usage(prompt_tokens=0, completion_tokens=0)
    ),
}
USAGE_CHANGES: dict[str, Callable[[Usage], Usage]] = {
    "prompt": lambda usage: replace(usage, prompt_tokens=usage.prompt_tokens + 1),
    "completion": lambda usage: replace(usage, completion_tokens=usage.completion_tokens + 1),
    "cached": lambda usage: replace(usage, cached_prompt_tokens=usage.cached_prompt_tokens + 1),
}


@pytest.mark.parametrize("change", CHANGES)
@given(chunks=answers(), data=st.data())
def test_any_change_of_any_chunk_makes_another_chain(chunks: tuple[TaskChunk, ...], data: st.DataObject, change: str):
    at = data.draw(st.integers(0, len(chunks) - 1))
    changed = CHANGES[change](chunks[at])
    assert head_of((*chunks[:at], changed, *chunks[at + 1 :])) != head_of(chunks)


@pytest.mark.parametrize("change", USAGE_CHANGES)
@given(chunks=answers())
def test_any_change_of_the_usage_makes_another_chain(chunks: tuple[TaskChunk, ...], change: str):
    last = chunks[-1]
    assert last.usage is not None
    changed = replace(last, usage=USAGE_CHANGES[change](last.usage))
    assert head_of((*chunks[:-1], changed)) != head_of(chunks)


@given(chunks=answers(), data=st.data())
def test_no_chunk_can_be_left_out_repeated_or_moved(chunks: tuple[TaskChunk, ...], data: st.DataObject):
    at = data.draw(st.integers(0, len(chunks) - 1))
    head = head_of(chunks)
    assert head_of((*chunks[:at], *chunks[at + 1 :])) != head
    assert head_of((*chunks[: at + 1], *chunks[at:])) != head
    other = data.draw(st.integers(0, len(chunks) - 1))
    swapped = list(chunks)
    swapped[at], swapped[other] = swapped[other], swapped[at]
    assert (head_of(tuple(swapped)) == head) == (at == other)


@given(chunks=answers())
def test_a_text_that_is_cut_elsewhere_is_another_chain(chunks: tuple[TaskChunk, ...]):
    first, *rest = chunks
    if rest:
        moved = (replace(first, text=first.text + rest[0].text), replace(rest[0], text=""), *rest[1:])
        assert head_of(moved) != head_of(chunks)


@given(chunks=answers())
def test_a_chain_is_of_one_account_task_attempt_and_node(chunks: tuple[TaskChunk, ...]):
    heads = {
        head_of(chunks),
        head_of(chunks, key=TaskKey(Token("other"), KEY.task)),
        head_of(chunks, key=TaskKey(KEY.account, Token("019b7a3e00007abc8def012345678901"))),
        head_of(chunks, key=TaskKey(Token(f"local{KEY.task[0]}"), Token(KEY.task[1:]))),
        head_of(chunks, attempt=2),
        head_of(chunks, node="n2"),
    }
    assert len(heads) == 6


@given(answers())
def test_the_signature_within_a_chunk_is_no_part_of_its_chain(chunks: tuple[TaskChunk, ...]):
    assert head_of(chunks) == head_of(tuple(replace(chunk, signature=None) for chunk in chunks))


def test_the_chain_is_what_the_decision_record_says():
    """ADR 14, byte by byte, for whoever writes a node in another language."""

    def number(value: int) -> bytes:
        return value.to_bytes(8, "big")

    def text(value: str) -> bytes:
        return number(len(value.encode())) + value.encode()

    first = TaskChunk(n=2, attempt=1, offset=0, text="Grüße", tokens=2)
    usage = Usage(prompt_tokens=7, completion_tokens=3, cached_prompt_tokens=1)
    last = TaskChunk(n=3, attempt=1, offset=5, text="!", tokens=1, finish_reason="stop", usage=usage)
    begun = b"ig3-chunks-begin-v1" + text("local") + text(KEY.task) + text("n1") + number(1)
    head = hashlib.sha256(begun).digest()
    link = b"ig3-chunks-link-v1"
    head = hashlib.sha256(link + head + number(2) + number(0) + number(2) + text("Grüße") + b"\x00").digest()
    closing = b"\x01" + text("stop") + number(7) + number(3) + number(1)
    head = hashlib.sha256(link + head + number(3) + number(5) + number(1) + text("!") + closing).digest()

    assert head_of((first, last)) == head
    assert chunk_chain.message(head) == b"ig3-answer-v1\n" + head.hex().encode()


def test_vectors_are_in_the_chain_and_no_text_can_stand_for_them():
    floats = bytes(range(32))
    chunk = TaskChunk(n=2, attempt=1, offset=0, text="", tokens=2, vectors=Vectors(count=2, floats=floats))
    others = (
        replace(chunk, vectors=None),
        replace(chunk, vectors=None, text=floats.decode()),
        replace(chunk, vectors=Vectors(count=1, floats=floats)),
        replace(chunk, vectors=Vectors(count=2, floats=floats[:-8])),
        replace(chunk, vectors=Vectors(count=2, floats=floats[:-1] + b"\xff")),
    )
    assert len({head_of((each,)) for each in (chunk, *others)}) == 6


def test_a_link_of_vectors_is_what_the_decision_record_says():
    floats = bytes(8)
    chunk = TaskChunk(n=2, attempt=1, offset=3, text="", tokens=4, vectors=Vectors(count=2, floats=floats))

    def number(value: int) -> bytes:
        return value.to_bytes(8, "big")

    begun = chunk_chain.begin(KEY, 1, NODE)
    rest = b"ig3-chunks-link-v1" + begun + number(2) + number(3) + number(4) + number(0) + b"\x00"
    link = b"ig3-chunks-vectors-v1" + number(2) + number(8) + floats + rest
    assert head_of((chunk,)) == hashlib.sha256(link).digest()
