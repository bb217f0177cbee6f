"""Vectors on their way: in the node's outbox, before the dispatcher's eyes, and where a task goes on with them."""

import math
import struct
from typing import Any

import pytest

from gateway.dispatcher import retrying
from gateway.dispatcher.vector_check import vectors_fault
from gateway.limits.price import price_of_task
from nodes.attempts.vector_work import VectorOutbox, shortened
from streams.events import TaskChunk, TaskSubmitted
from streams.tasks.chat import Usage
from streams.tasks.task import TaskState
from streams.tasks.vectors import MOST_CHUNK_BYTES, Vectors, numbers_of
from tests.number_engine import DIMENSIONS, vector_of

ASKED = TaskSubmitted(model="m", texts=("a", "b", "c"))
USAGE = Usage(prompt_tokens=6, completion_tokens=0)
STATE = TaskState(chars=3, tokens=6)


def chunks(*vectors: bytes, **more: Any) -> list[TaskChunk]:
    held = Vectors(count=len(vectors), floats=b"".join(vectors))
    return [TaskChunk(n=2, attempt=1, offset=0, text=more.pop("text", ""), vectors=held)]


def fault_of(
    *vectors: bytes, state: TaskState = STATE, usage: Usage = USAGE, dimensions: int | None = None
) -> tuple[str, bool] | None:
    fault = vectors_fault(ASKED, state, usage, chunks(*vectors), dimensions=dimensions)
    return None if fault is None else (fault.message, fault.is_lie)


GOOD = tuple(map(vector_of, "abc"))


def test_good_vectors_are_believed() -> None:
    assert fault_of(*GOOD) is None
    assert fault_of(*GOOD, dimensions=DIMENSIONS) is None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 0.0, 1e30])
def test_numbers_that_make_no_vector_of_length_1_are_not_believed(number: float) -> None:
    bad = struct.pack(f"<{DIMENSIONS}f", *[number] * DIMENSIONS)
    assert fault_of(GOOD[0], bad, GOOD[2]) == ("vector 1 is no vector of length 1", False)


def test_vectors_of_another_length_than_was_due_are_not_believed() -> None:
    assert fault_of(*GOOD, dimensions=16) == ("vectors of 8 numbers, where 16 were due", False)
    assert fault_of(*GOOD[:2], GOOD[2][:-4]) == ("3 vectors in 92 bytes, which cannot be parted", False)


def test_too_few_vectors_and_counts_that_contradict_each_other_are_not_believed() -> None:
    assert fault_of(*GOOD, state=TaskState(chars=2, tokens=6)) == ("2 vectors, where 3 texts were given", False)
    contradiction = fault_of(*GOOD, usage=Usage(prompt_tokens=7, completion_tokens=0))
    assert contradiction is not None
    assert contradiction[1]
    wild = Usage(prompt_tokens=1000, completion_tokens=0)
    assert fault_of(*GOOD, state=TaskState(chars=3, tokens=1000), usage=wild) == (
        "1000 tokens of texts, where 51 is the most there can be",
        True,
    )


async def test_groups_become_chunks_that_fit_and_the_last_one_has_the_usage() -> None:
    outbox = VectorOutbox()
    group = bytes(MOST_CHUNK_BYTES // 4)
    for _ in range(5):
        outbox.put_group(group, 16, 3)
    outbox.put_group(group, 2, 1, usage=USAGE)
    first, last = await outbox.take(), await outbox.take()
    assert (first.chars, first.tokens, first.finish_reason, first.usage) == (64, 12, None, None)
    assert (last.chars, last.tokens, last.finish_reason, last.usage) == (18, 4, "stop", USAGE)


async def test_an_engine_that_is_ahead_waits() -> None:
    outbox = VectorOutbox()
    outbox.put_group(bytes(1024), 256, 3)
    assert outbox.is_full
    await outbox.take()
    assert not outbox.is_full


def test_a_vector_that_is_cut_has_the_length_1_again() -> None:
    cut = numbers_of(shortened(vector_of("a"), 4))
    assert math.hypot(*cut) == pytest.approx(1.0, abs=1e-6)
    whole = numbers_of(vector_of("a"))[:4]
    assert [a / b for a, b in zip(cut, whole, strict=True)] == pytest.approx([1 / math.hypot(*whole)] * 4, rel=1e-5)
    assert shortened(vector_of("a"), DIMENSIONS) == vector_of("a")


def test_any_engine_goes_on_with_texts_that_are_left_and_none_where_none_is() -> None:
    begun, whole = TaskState(chars=2), TaskState(chars=3)
    assert retrying.seam(begun, continues=False, asked=ASKED) == "continued"
    assert retrying.seam(begun, continues=False, asked=ASKED, is_trusted=False) == "restarted"
    assert retrying.seam(whole, continues=True, asked=ASKED) == "restarted"
    assert retrying.seam(TaskState(), continues=True, asked=ASKED) is None


def test_texts_cost_their_own_tokens_and_no_answer() -> None:
    price = price_of_task(TaskSubmitted(model="m", texts=("x" * 40, "y" * 4)), answer_tokens=1024)
    assert (price.prompt, price.answer) == (15, 0)
