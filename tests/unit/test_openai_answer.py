"""OpenAI's objects as they are written: whole answers, chunks, and how errors look."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from gateway.http.chat.answer import ChunkFrames, whole_answer
from gateway.http.errors import ApiError, from_end, from_exception, from_task_error
from mesh.bus.answer import AnswerText, Step
from mesh.errors import BusUnavailable
from streams.errors import InvalidTaskId
from streams.events import TaskAccepted, TaskAssigned, TaskChunk, TaskEnded, TaskError, TaskQueued
from streams.tasks.chat import Usage
from streams.tasks.task import Phase, TaskState
from streams.tasks.task_id import new_task_id

TASK = new_task_id(1_700_000_000_000)
USAGE = Usage(prompt_tokens=3, completion_tokens=4, cached_prompt_tokens=2)
COMPLETED = TaskState(phase=Phase.ENDED, outcome="completed", finish_reason="length", usage=USAGE)
ENDED = Step(TaskEnded(n=9, at_ms=0, outcome="completed"), "mesh", COMPLETED)


def chunk(text: str, n: int = 2) -> Step:
    return Step(TaskChunk(n=n, attempt=1, offset=0, text=text), "n1", TaskState())


def frames(**options: Any) -> ChunkFrames:
    return ChunkFrames(TASK, "m", **{"include_usage": False, **options})


def answer_of(*steps: Step) -> AnswerText:
    answer = AnswerText()
    answer.take(steps)
    return answer


def events(data: bytes) -> list[dict[str, str]]:
    """Read server-sent events as the standard says."""
    blocks = [block for block in data.decode().split("\n\n") if block]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


@given(st.text(min_size=1), st.text(min_size=1, max_size=50))
def test_any_text_of_any_model_arrives_as_it_is(text: str, model: str) -> None:
    written = ChunkFrames(TASK, model, include_usage=True).write(chunk(text))
    role, content = [json.loads(event["data"]) for event in events(written)]
    assert role["choices"][0]["delta"]["role"] == "assistant"
    assert content["choices"][0]["delta"] == {"content": text}
    assert content["model"] == model
    assert (
        json.loads(whole_answer(TASK, model, answer_of(chunk(text)), COMPLETED))["choices"][0]["message"]["content"]
        == text
    )


def test_only_the_first_words_come_with_the_role() -> None:
    writer = frames()
    assert len(events(writer.write(chunk("a")))) == 2
    assert len(events(writer.write(chunk("b", 3)))) == 1


@pytest.mark.parametrize(("has_text", "told"), [(True, 1), (False, 2)])
def test_who_goes_on_behind_some_text_is_told_no_role_again(has_text: bool, told: int) -> None:
    writer = frames()
    writer.go_on(has_text=has_text)
    assert len(events(writer.write(chunk("b", 6)))) == told


def test_no_empty_line_follows_a_comment_behind_an_id_because_openais_clients_fail_at_it() -> None:
    writer = frames()
    assert writer.comment(b"waiting") == b": waiting\n\n"
    written = writer.write(chunk("a")) + writer.comment(b"keep-alive") + writer.write(chunk("b", 3))
    read = [json.loads(sse.data) for sse in SSEDecoder().iter_bytes(iter([written]))]
    assert [chunk["choices"][0]["delta"].get("content") for chunk in read] == ["", "a", "b"]


def test_an_answer_without_a_word_is_still_an_answer() -> None:
    writer = frames()
    assert writer.write(chunk("")) == b""
    role, finish, done = events(writer.write(ENDED))
    assert json.loads(role["data"])["choices"][0]["delta"]["role"] == "assistant"
    assert json.loads(finish["data"])["choices"][0]["finish_reason"] == "length"
    assert done == {"id": "9", "data": "[DONE]"}


def test_an_id_stands_only_behind_all_that_came_of_its_event() -> None:
    writer = frames(include_usage=True)
    assert [event.get("id") for event in events(writer.write(chunk("a")))] == [None, "2"]
    assert [event.get("id") for event in events(writer.write(ENDED))] == [None, None, "9"]


def test_usage_is_counted_as_openai_counts() -> None:
    writer = frames(include_usage=True)
    usage = json.loads(events(writer.write(ENDED))[-2]["data"])["usage"]
    assert usage == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
    }


@pytest.mark.parametrize(
    "event",
    [
        TaskAccepted(n=1, at_ms=0),
        TaskAssigned(n=1, at_ms=0, attempt=1, node="n1", policy="p"),
    ],
)
def test_what_concerns_the_mesh_alone_is_not_told(event: TaskAccepted | TaskAssigned) -> None:
    assert frames().write(Step(event, "mesh", TaskState())) == b""


def test_a_reason_with_line_breaks_stays_one_comment() -> None:
    queued = TaskQueued(n=1, at_ms=0, position=2, reason="no\r\n\r\ndata: slot")
    assert frames().write(Step(queued, "mesh", TaskState())) == b": queued position=2 reason=no data: slot\n\n"


def test_a_failed_end_is_an_error_event() -> None:
    failed = TaskState(phase=Phase.ENDED, outcome="failed", error=TaskError(code="c", message="m", status=502))
    (event,) = events(frames().write(Step(TaskEnded(n=4, at_ms=0, outcome="failed"), "mesh", failed)))
    assert event["id"] == "4"
    assert json.loads(event["data"])["error"]["code"] == "c"


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [("cancelled", 499, "cancelled"), ("dead", 500, "task_dead"), ("failed", 500, "task_failed")],
)
def test_an_end_without_a_reason_is_still_explained(outcome: Any, status: int, code: str) -> None:
    error = from_end(TaskState(phase=Phase.ENDED, outcome=outcome))
    assert (error.status, error.code) == (status, code)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (499, "invalid_request_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_the_type_of_an_error_follows_from_its_status(status: int, kind: str) -> None:
    error = from_task_error(TaskError(code="c", message="m", status=status))
    assert json.loads(error.body()) == {"error": {"message": "m", "type": kind, "param": None, "code": "c"}}


@pytest.mark.parametrize("status", [-1, 0, 200, 399, 600, 10**9])
def test_a_status_that_is_no_error_becomes_500(status: int) -> None:
    assert from_task_error(TaskError(code="c", message="m", status=status)).status == 500


def test_foreign_errors_become_answers_in_one_place() -> None:
    bus = from_exception(BusUnavailable("gone"))
    assert bus is not None
    assert (bus.status, bus.code, bus.headers["Retry-After"]) == (503, "mesh_unavailable", "1")
    own = from_exception(InvalidTaskId("no id"))
    assert own is not None
    assert own.status == 400
    assert from_exception(KeyError("x")) is None
    error = ApiError(400, "m", code=None)
    assert from_exception(error) is error
