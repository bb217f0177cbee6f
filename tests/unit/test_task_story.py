"""The story that `ig3 explain` tells, from events as they are stored."""

from datetime import UTC, datetime, timedelta

from mesh.inspection.task_records import Ended, Happened, Submitted
from mesh.inspection.task_story import tell
from streams.events import (
    AttemptShare,
    EndEvent,
    TaskAssigned,
    TaskChunk,
    TaskCompleted,
    TaskEnded,
    TaskError,
    TaskEvent,
    TaskFailed,
    TaskHalted,
    TaskQueued,
    TaskSubmitted,
)
from streams.subjects import MESH, TaskKey
from streams.tasks.chat import Message, Sampling, Usage
from streams.tasks.placing import Candidate, Hedge, Part, Rejects
from streams.tasks.task_id import new_task_id
from streams.tokens import Token

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
N1, N2 = Token("n1"), Token("n2")


def submitted(content: str = "hello") -> Submitted:
    event = TaskSubmitted(model="m", messages=(Message(role="user", content=content),), sampling=Sampling(seed=0))
    return Submitted(key=TaskKey(Token("a"), new_task_id()), service_class="batch", at=BEGUN, sequence=1, event=event)


def after(seconds: float, writer: Token, event: TaskEvent) -> Happened:
    return Happened(at=BEGUN + timedelta(seconds=seconds), sequence=1, writer=writer, event=event)


def assigned(
    n: int, node: str, *, attempt: int = 1, offset: int = 0, candidates: tuple[Candidate, ...] = ()
) -> TaskAssigned:
    return TaskAssigned(n=n, at_ms=0, attempt=attempt, node=node, policy="p", candidates=candidates, offset=offset)


def chunk(n: int, text: str, *, attempt: int = 1, offset: int = 0) -> TaskChunk:
    return TaskChunk(n=n, attempt=attempt, offset=offset, text=text, tokens=1)


def story(
    happened: list[Happened], end: tuple[float, EndEvent] | None = None, task: Submitted | None = None
) -> list[str]:
    fact = None if end is None else Ended(at=BEGUN + timedelta(seconds=end[0]), event=end[1])
    return [
        f"{'' if line.after is None else f'{line.after.total_seconds():g}'}|{line.text}"
        for line in tell(task or submitted(), happened, fact)
    ]


def test_a_task_that_waits() -> None:
    told = story([after(0.5, MESH, TaskQueued(n=1, at_ms=0, position=3, reason="no node serves m"))])
    assert told == [
        "0|submitted, batch",
        "|1 message, 5 characters, the last: “hello”",
        "|seed 0",
        "0.5|queued, 3 before it: no node serves m",
        "|it has not ended: waiting",
    ]


def test_why_this_node_and_not_the_others() -> None:
    candidates = (
        Candidate(node="n3", rejected="no free slot"),
        Candidate(node="n1", score=2.0),
        Candidate(node="n2", score=10.5),
        Candidate(node="n4", score=99.0, has_failed=True),
    )
    told = story([after(1, MESH, assigned(1, "n2", candidates=candidates))])
    assert told[3:8] == [
        "1|assigned to n2: attempt 1, policy p",
        "|→ n2  score 10.5",
        "|  n1  score 2",
        "|  n4  score 99, comes last: it has failed this task",
        "|  n3  passed over: no free slot",
    ]


def test_how_a_score_came_about_and_how_many_nodes_are_not_named() -> None:
    best = Candidate(
        node="n1",
        score=-1.5,
        parts=(Part(name="answer", value=-2.0), Part(name="cached", value=0.5)),
        model="small",
        first_token_s=0.25,
        finish_s=1.5,
    )
    event = TaskAssigned(
        n=1,
        at_ms=0,
        attempt=1,
        node="n1",
        policy="p",
        candidates=(best,),
        rejects=(Rejects(reason="draining", count=7),),
        serving=900,
        model="small",
    )
    told = story([after(1, MESH, event)])
    assert told[3:7] == [
        "1|assigned to n1: attempt 1, policy p, model small",
        "|→ n1  small: score -1.5",
        "|      answer -2, cached +0.5; first token after 0.25 s, all after 1.5 s",
        "|of 900 nodes: passed over 7 draining",
    ]


def test_a_lost_node_and_a_second_attempt() -> None:
    happened = [
        after(1, MESH, assigned(1, "n1")),
        after(2, N1, chunk(2, "ab")),
        after(3, N1, chunk(3, "cd", offset=2)),
        after(9, MESH, assigned(4, "n2", attempt=2, offset=4)),
        after(9.5, N1, chunk(5, "xx", offset=4)),
        after(10, N2, chunk(5, "ef", attempt=2, offset=4)),
        after(11, MESH, TaskEnded(n=6, at_ms=0, outcome="completed")),
    ]
    shares = (
        AttemptShare(attempt=1, node="n1", chars=4, tokens=2),
        AttemptShare(attempt=2, node="n2", chars=2, tokens=1),
    )
    usage = Usage(prompt_tokens=1, completion_tokens=3)
    end = TaskCompleted(at_ms=0, model="m", final_n=5, finish_reason="stop", usage=usage, shares=shares)
    assert story(happened, (10.5, end))[3:] == [
        "1|assigned to n1: attempt 1, policy p",
        "2|first text (time to first token)",
        "3|wrote 2 chunks with 2 tokens, 1.0 tokens/s",
        "9|assigned to n2: attempt 2, policy p",
        "|goes on behind 4 characters",
        "9.5|not counted: task.chunk.v1 by n1, n 5: the writer does not hold the assignment",
        "10|wrote 1 chunk with 1 token",
        "10.5|completed: 1 prompt tokens, 3 completion tokens",
        "|attempt 1 on n1: 4 characters, 2 tokens",
        "|attempt 2 on n2: 2 characters, 1 token",
        "11|the end is told to readers: completed",
    ]


def test_an_end_that_readers_have_not_been_told() -> None:
    error = TaskError(code="node_lost", message="n1 left", status=503)
    happened = [
        after(1, MESH, assigned(1, "n1")),
        after(2, MESH, TaskHalted(n=2, at_ms=0, reason="n1 is silent")),
    ]
    assert story(happened, (3, TaskFailed(at_ms=0, model="m", final_n=2, error=error)))[4:] == [
        "2|halted: n1 is silent",
        "3|failed: n1 left (node_lost, status 503)",
        "|readers have not been told yet",
    ]


def test_a_body_that_nobody_can_read() -> None:
    unreadable = Submitted(
        key=TaskKey(Token("a"), new_task_id()), service_class="batch", at=BEGUN, sequence=1, event=None
    )
    assert story([], task=unreadable)[1] == "|its body cannot be read"


def test_a_long_question_is_cut() -> None:
    shown = story([], task=submitted("word " * 100))[1]
    assert shown.endswith("…”")
    assert len(shown) < 120


def test_that_a_second_node_was_asked_why_and_who_was_first() -> None:
    won = Hedge(attempt=1, beside="n1", node="n2", waited_s=0.75, samples=64, outcome="won")
    taken = TaskAssigned(n=2, at_ms=0, attempt=2, node="n2", policy="p", hedge=won)
    usage = Usage(prompt_tokens=1, completion_tokens=1)
    lost = Hedge(attempt=1, beside="n1", node="n2", waited_s=0.5, outcome="lost")
    end = TaskCompleted(at_ms=0, model="m", final_n=2, finish_reason="stop", usage=usage, shares=(), hedge=lost)
    told = story([after(0, MESH, assigned(1, "n1")), after(1, MESH, taken)])
    assert (
        "|hedged beside attempt 1: n1 had no word after 0.75 s (later than 95 % of its last 64 were), so n2 was asked "
        "too: n2 was first; n1 was stopped, and earns nothing"
    ) in told
    told = story([after(0, MESH, assigned(1, "n1")), after(1, N1, chunk(2, "hi"))], (2, end))
    assert (
        "|hedged beside attempt 1: n1 had no word after 0.5 s (a guess: too few were measured), so n2 was asked "
        "too: n1 was first; n2 was stopped, and earns nothing"
    ) in told
