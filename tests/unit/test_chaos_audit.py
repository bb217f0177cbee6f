"""The audit of `tests/chaos` finds what it is there to find: each promise is broken here on purpose."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from streams.events import AttemptShare, TaskAssigned, TaskChunk, TaskCompleted, TaskEnded, TaskRequeued
from streams.subjects import MESH
from streams.tasks.chat import Usage
from tests.chaos.answers import Transcript, uninterrupted
from tests.chaos.audit import Findings, TaskRecord, audit
from tests.chaos.campaign import Outcome
from tests.chaos.faults import Injection
from tests.chaos.figures import Row, percentile, rows, too_slow

TOKENS = 4
QUESTION = "question"
SECOND_NS = 1_000_000_000


async def whole_answer() -> tuple[TaskRecord, Transcript]:
    """An answer that moved from one node to another, and its reader: both faultless."""
    words = (await uninterrupted(QUESTION, TOKENS)).split(" ")[:TOKENS]
    pieces = [f"{word} " for word in words]
    record = TaskRecord(submissions=1)
    offset, n = 0, 1
    record.take(0, MESH, TaskAssigned(n=1, at_ms=0, attempt=1, node="a", policy=""))
    for index, piece in enumerate(pieces):
        if index == 2:
            moved = TaskRequeued(n=n + 1, at_ms=0, attempt=1, node="a", code="", message="", retry_at_ms=0)
            record.take(5 * SECOND_NS, MESH, moved)
            record.take(
                5 * SECOND_NS,
                MESH,
                TaskAssigned(n=n + 2, at_ms=0, attempt=2, node="b", policy="", offset=offset, seam="continued"),
            )
            n += 2
        n += 1
        is_last = index == TOKENS - 1
        chunk = TaskChunk(
            n=n,
            attempt=record.state.attempt,
            offset=offset,
            text=piece,
            tokens=1,
            finish_reason="length" if is_last else None,
            usage=Usage(prompt_tokens=1, completion_tokens=TOKENS) if is_last else None,
        )
        record.take((6 + index) * SECOND_NS, "a" if index < 2 else "b", chunk)
        offset += len(piece)
    usage = Usage(prompt_tokens=1, completion_tokens=TOKENS)
    shares = record.state.shares
    end = TaskCompleted(at_ms=0, model="", final_n=n, finish_reason="length", usage=usage, shares=shares)
    record.ends.append(end)
    record.take(9 * SECOND_NS, MESH, TaskEnded(n=n + 1, at_ms=0, outcome="completed"))
    transcript = Transcript(question=QUESTION, tokens=TOKENS, way="http", is_whole=True)
    for number, piece in enumerate(pieces):
        transcript.take(number + 2, piece)
    return record, transcript


async def found(record: TaskRecord, transcript: Transcript) -> Findings:
    return await audit({transcript.task: record}, [transcript])


async def test_a_faultless_answer_passes() -> None:
    findings = await found(*await whole_answer())
    assert not findings.broken
    assert (findings.tokens_missing, findings.tokens_repeated, findings.without_end) == (0, 0, 0)
    assert findings.attempts == {2: 1}


def lose_a_chunk(record: TaskRecord, _: Transcript) -> None:
    record.text = record.text.partition(" ")[2]


def read_too_little(_: TaskRecord, transcript: Transcript) -> None:
    transcript.text = transcript.text.partition(" ")[2]


def read_twice(_: TaskRecord, transcript: Transcript) -> None:
    transcript.take(transcript.last, "again ")


def read_other_words(_: TaskRecord, transcript: Transcript) -> None:
    transcript.text = transcript.text[::-1]


def never_hear_the_end(_: TaskRecord, transcript: Transcript) -> None:
    transcript.is_whole = False


def never_end(record: TaskRecord, _: Transcript) -> None:
    record.ends.clear()


def end_twice(record: TaskRecord, _: Transcript) -> None:
    record.ends.append(record.ends[0])


def charge_too_much(record: TaskRecord, _: Transcript) -> None:
    (end,) = record.ends
    assert isinstance(end, TaskCompleted)
    extra = AttemptShare(attempt=3, node="c", chars=1, tokens=1)
    record.ends[0] = replace(end, shares=(*end.shares, extra))


def store_it_twice(record: TaskRecord, _: Transcript) -> None:
    record.submissions = 2


def store_nothing(record: TaskRecord, _: Transcript) -> None:
    record.submissions = 0
    record.text = ""
    record.lines.clear()
    record.ends.clear()


@pytest.mark.parametrize(
    "breach",
    [
        lose_a_chunk,
        read_too_little,
        read_twice,
        read_other_words,
        never_hear_the_end,
        never_end,
        end_twice,
        charge_too_much,
        store_it_twice,
        store_nothing,
    ],
)
async def test_each_broken_promise_is_told(breach: Callable[[TaskRecord, Transcript], None]) -> None:
    record, transcript = await whole_answer()
    breach(record, transcript)
    findings = await found(record, transcript)
    assert findings.broken
    assert all(problem.startswith(transcript.task) for problem in findings.broken)


async def test_a_pause_belongs_to_the_fault_that_falls_into_it() -> None:
    record, transcript = await whole_answer()
    transcript.arrivals_s = [0.0, 0.2, 5.2, 5.4, 7.4]
    faults = [
        Injection(kind="node killed", victims=("a",), at_s=0.3, at_ns=4 * SECOND_NS),
        Injection(kind="clients cut off", victims=(), at_s=5.3, at_ns=8 * SECOND_NS),
    ]
    measured = rows(faults, [transcript], {transcript.task: record})
    assert measured["node killed"].pauses_s == [5.0]
    assert (measured["node killed"].detected_s, measured["node killed"].continued_s) == ([1.0], [3.0])
    assert measured["clients cut off"].pauses_s == [2.0]


def test_percentiles_are_values_that_were_measured() -> None:
    assert [percentile([3.0, 1.0, 2.0, 4.0], percent) for percent in (0, 50, 99, 100)] == [1.0, 2.0, 4.0, 4.0]


async def test_what_was_in_flight_is_what_the_log_had_not_whole_yet() -> None:
    record, transcript = await whole_answer()
    assert record.written_at_ns == 9 * SECOND_NS

    def in_flight(at_ns: int) -> int:
        fault = Injection(kind="node killed", victims=("a",), at_s=0.3, at_ns=at_ns)
        return Outcome(injections=[fault], records={transcript.task: record, "unwritten": TaskRecord()}).in_flight

    assert [in_flight(at_ns) for at_ns in (8 * SECOND_NS, 9 * SECOND_NS)] == [2, 1]


@pytest.mark.parametrize(
    ("detected_s", "continued_s", "told"),
    [
        ([], [], 0),
        ([4.9, 4.9, 9.0], [2.9, 2.9, 5.0], 0),
        ([5.1], [0.1], 1),
        ([1.0, 1.0, 10.1], [0.1], 1),
        ([1.0], [3.1], 1),
        ([9.0], [9.0], 2),
    ],
)
def test_a_lost_node_that_is_noticed_too_late_is_told(
    detected_s: list[float], continued_s: list[float], told: int
) -> None:
    row = Row(detected_s=detected_s, continued_s=continued_s)
    assert len(too_slow({"node hung": row, "clients cut off": Row(detected_s=[99.0])})) == told
