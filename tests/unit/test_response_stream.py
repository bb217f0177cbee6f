"""The events of a response: the same with the same numbers, whoever reads, from wherever and in whatever portions."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.http.errors import ApiError
from gateway.http.responses.frames import ResponseFrames
from mesh.bus.answer import Step
from streams.events import (
    TaskAccepted,
    TaskAssigned,
    TaskChunk,
    TaskEnded,
    TaskError,
    TaskEvent,
    TaskQueued,
    TaskRequeued,
    TaskSubmitted,
)
from streams.stores.messages import FoundPassage
from streams.stores.passages import Place
from streams.subjects import MESH
from streams.tasks.chat import FinishReason, Message, Usage
from streams.tasks.grounding import FileSearch, Grounding, Source
from streams.tasks.response_terms import MetadataPair, ResponseTerms
from streams.tasks.task import Rejection, TaskState, advance
from streams.tasks.task_id import new_task_id

TASK = new_task_id(1_700_000_000_000)
TERMS = ResponseTerms(metadata=(MetadataPair(name="a", text="b"),))
ASKED = TaskSubmitted(model="m", messages=(Message(role="user", content="hi"),), response=TERMS)
NODE, OTHER = "n1", "n2"

USAGE = Usage(prompt_tokens=3, completion_tokens=4)
BEGIN: tuple[tuple[str, TaskEvent], ...] = (
    (MESH, TaskAccepted(n=1, at_ms=0)),
    (MESH, TaskQueued(n=2, at_ms=0, position=1, reason="busy")),
    (MESH, TaskAssigned(n=3, at_ms=0, attempt=1, node=NODE, policy="p")),
    (NODE, TaskChunk(n=4, attempt=1, offset=0, text="void ", tokens=1)),
)
RESTARTED: tuple[tuple[str, TaskEvent], ...] = (
    *BEGIN,
    (MESH, TaskRequeued(n=5, at_ms=0, attempt=1, node=NODE, code="node_lost", message="gone", retry_at_ms=0)),
    (MESH, TaskAssigned(n=6, at_ms=0, attempt=2, node=OTHER, policy="p", seam="restarted")),
    (OTHER, TaskChunk(n=7, attempt=2, offset=0, text="Grüße ", tokens=1)),
    (OTHER, TaskChunk(n=8, attempt=2, offset=6, text="🙂", tokens=1, finish_reason="stop", usage=USAGE)),
    (MESH, TaskEnded(n=9, at_ms=0, outcome="completed")),
)
RESTART_AT = 5
"""Where the restart stands among the steps."""
VOID = ApiError(500, "begins again", code="answer_restarted")


def steps_of(*events: tuple[str, TaskEvent]) -> list[Step]:
    state, steps = TaskState(), list[Step]()
    for writer, event in events:
        following = advance(state, writer, event)
        assert not isinstance(following, Rejection), following
        state = following
        steps.append(Step(event, writer, state))
    return steps


STEPS = steps_of(*RESTARTED)


def frames(after: int = -1) -> ResponseFrames:
    return ResponseFrames(TASK, ASKED, TERMS, after=after)


def events(data: bytes) -> list[dict[str, Any]]:
    blocks = [block for block in data.decode().split("\n\n") if block]
    read = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    assert all(json.loads(one["data"])["type"] == one["event"] for one in read)
    return [json.loads(one["data"]) for one in read]


def play(writer: ResponseFrames, portions: list[list[Step]]) -> bytes:
    """Write portions as an exchange does, until the stream has to end."""
    data = b""
    for portion in portions:
        rest = portion
        restart = next((index for index in reversed(range(len(rest))) if rest[index].restarts), None)
        if restart is not None:
            if not writer.has_text:
                writer.skip(rest[:restart])
            elif told := writer.restart(VOID, rest[: restart + 1]):
                return data + told
            rest = rest[restart:]
        data += b"".join(writer.write(step) for step in rest)
    return data


def portions_of(steps: list[Step], cuts: set[int]) -> list[list[Step]]:
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(steps)), len(steps)]
    return [steps[start:end] for start, end in itertools.pairwise(edges)]


def one_by_one(steps: list[Step]) -> list[list[Step]]:
    return [[step] for step in steps]


def told() -> dict[int, dict[str, Any]]:
    """All events of the task there are, by number: those before the restart, and those of who came late."""
    early, late = events(play(frames(), one_by_one(STEPS))), events(play(frames(), [STEPS]))
    assert early[-1]["code"] == "answer_restarted"
    return {one["sequence_number"]: one for one in (*early, *late)}


def test_numbers_have_no_hole_and_each_means_one_event() -> None:
    assert sorted(told()) == list(range(len(told())))


def test_the_events_of_an_answer_are_those_of_openai_in_their_order() -> None:
    read = events(play(frames(), one_by_one(STEPS[:4])))
    assert [one["type"] for one in read] == [
        *("response.created", "response.queued", "response.in_progress"),
        *("response.output_item.added", "response.content_part.added", "response.output_text.delta"),
    ]
    last = events(play(frames(), [STEPS]))
    assert [one["type"] for one in last][-5:] == [
        *("response.output_text.delta", "response.output_text.done", "response.content_part.done"),
        *("response.output_item.done", "response.completed"),
    ]
    whole = last[-1]["response"]
    assert whole["output"][0]["content"][0]["text"] == "Grüße 🙂"
    assert whole["usage"]["total_tokens"] == 7
    assert whole["metadata"] == {"a": "b"}


@given(st.sets(st.integers(1, len(STEPS))))
def test_the_portions_in_which_events_come_change_nothing(cuts: set[int]) -> None:
    expected = told()
    for one in events(play(frames(), portions_of(STEPS, cuts))):
        assert one == expected[one["sequence_number"]]


@given(st.integers(0, len(told()) - 1), st.sets(st.integers(1, len(STEPS))))
def test_who_goes_on_behind_a_number_gets_the_next_one_and_all_behind_it(after: int, cuts: set[int]) -> None:
    expected = told()
    error = next(number for number, one in expected.items() if one["type"] == "error")
    had = had_before(after)
    writer = frames(after)
    writer.resume(STEPS[:had])
    got = events(play(writer, portions_of(STEPS[had:], cuts)))
    numbers = [one["sequence_number"] for one in got]
    assert [expected[number] for number in numbers] == got
    had_text = any(one["type"] == "response.output_text.delta" for number, one in expected.items() if number <= after)
    if after >= error or (had_text and after < error):
        end = error + 1 if after < error else len(expected)
        assert numbers == list(range(after + 1, end))
    else:
        # Nothing of what is void was seen: it may be told and end in the error, or be left out, as portions fall.
        assert numbers[-1] in (error, len(expected) - 1)
        assert numbers == sorted(set(numbers))


def had_before(after: int) -> int:
    """How many steps somebody who has had event ``after`` has had all of."""
    writer, had = frames(), 0
    for number, step in enumerate(STEPS, 1):
        writer.resume([step])
        if writer.next_number <= after + 1:
            had = number
    return had


def test_a_search_is_told_of_before_the_answer_and_again_where_that_begins_anew() -> None:
    place = Place(first=0, last=5)
    fact = FoundPassage(
        store="vs_1", file="file-1", filename="a.md", attributes=(), score=0.5, text="Salt.", place=place
    )
    search = FileSearch(stores=("vs_1",), shows_results=True)
    grounding = Grounding(search=search, query="why?", sources=(Source(found=fact, number=1),), message=0, chars=0)
    asked = replace(ASKED, grounding=grounding)

    def read(portions: list[list[Step]], after: int = -1) -> list[dict[str, Any]]:
        return events(play(ResponseFrames(TASK, asked, TERMS, after=after), portions))

    early, late = read(one_by_one(STEPS)), read([STEPS])
    begin = [
        *("response.created", "response.output_item.added", "response.file_search_call.in_progress"),
        *("response.file_search_call.searching", "response.file_search_call.completed", "response.output_item.done"),
    ]
    assert [one["type"] for one in early[:6]] == [one["type"] for one in late[:6]] == begin
    assert early[0]["response"]["output"] == []
    assert (early[1]["item"]["status"], early[1]["item"]["results"]) == ("in_progress", None)
    assert early[5]["item"]["results"][0]["text"] == "Salt."
    assert early[-1]["code"] == "answer_restarted"
    told = {one["sequence_number"]: one for one in (*early, *late)}
    assert sorted(told) == list(range(len(told)))
    assert late[0]["sequence_number"] == early[-1]["sequence_number"] + 1
    assert [item["type"] for item in late[-1]["response"]["output"]] == ["file_search_call", "message"]
    (cited,) = late[-1]["response"]["output"][1]["content"][0]["annotations"]
    assert (cited["support"], cited["index"]) == ("prompt", len("Gr\u00fc\u00dfe \U0001f642"))
    assert read([STEPS], after=late[4]["sequence_number"]) == late[5:]


def test_an_error_that_is_no_event_of_the_task_has_no_number_of_its_own() -> None:
    writer = frames()
    last = events(play(writer, one_by_one(STEPS[:3])))[-1]["sequence_number"]
    (failed,) = events(writer.failure(ApiError(503, "stops", code="gateway_stopping"), n=3).partition(b"\n")[2])
    assert (failed["sequence_number"], failed["code"]) == (last, "gateway_stopping")
    assert events(writer.write(STEPS[3]))[0]["sequence_number"] == last + 1


@pytest.mark.parametrize(
    ("finish", "kind", "status"),
    [("stop", "response.completed", "completed"), ("length", "response.incomplete", "incomplete")],
)
def test_an_answer_without_a_word_has_an_item_all_the_same(finish: FinishReason, kind: str, status: str) -> None:
    chunk = TaskChunk(n=2, attempt=1, offset=0, text="", finish_reason=finish, usage=USAGE)
    steps = steps_of(
        (MESH, TaskAssigned(n=1, at_ms=0, attempt=1, node=NODE, policy="p")),
        (NODE, chunk),
        (MESH, TaskEnded(n=3, at_ms=0, outcome="completed")),
    )
    last = events(play(frames(), one_by_one(steps)))[-1]
    assert (last["type"], last["response"]["status"]) == (kind, status)
    assert last["response"]["output"][0]["content"][0]["text"] == ""
    assert (last["response"]["incomplete_details"] is not None) == (status == "incomplete")


def test_a_task_that_fails_ends_the_stream_with_its_error_and_what_was_written() -> None:
    error = TaskError(code="node_lost", message="The node is gone.", status=502)
    ended = (MESH, TaskEnded(n=5, at_ms=0, outcome="failed", error=error))
    last = events(play(frames(), one_by_one(steps_of(*BEGIN, ended))))[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"] == {"code": "node_lost", "message": "The node is gone."}
    assert last["response"]["output"][0]["status"] == "incomplete"
