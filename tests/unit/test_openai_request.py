"""What a chat request may say, and the task it becomes."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fetching.fetcher import Fetcher
from gateway.http.chat.question import ChatQuestion, chat_question
from gateway.http.chat.request import UNSUPPORTED, UNSUPPORTED_VALUES, ChatRequest
from gateway.http.errors import ApiError
from streams.codec import decode, encode
from streams.events import TaskSubmitted

FETCHER = Fetcher()


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}], **fields}).encode()


def refusal(data: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        chat_question(data, FETCHER)
    return caught.value


texts = st.text(max_size=20)
messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "developer", "user", "assistant"]),
        "content": texts | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), max_size=3),
    },
    optional={"name": st.none() | texts, "tool_calls": st.none() | st.just([])},
)
numbers = st.floats(-2, 2)
requests = st.fixed_dictionaries(
    {"model": st.text(min_size=1, max_size=256), "messages": st.lists(messages, min_size=1, max_size=4)},
    optional={
        "max_tokens": st.none() | st.integers(1, 1_000_000),
        "max_completion_tokens": st.none() | st.integers(1, 1_000_000),
        "temperature": st.none() | st.floats(0, 2) | st.integers(0, 2),
        "top_p": st.none() | st.floats(0, 1, exclude_min=True),
        "seed": st.none() | st.integers(-(2**63), 2**63 - 1),
        "stop": st.none() | st.text(min_size=1) | st.lists(st.text(min_size=1, max_size=256), max_size=4),
        "presence_penalty": st.none() | numbers,
        "frequency_penalty": st.none() | numbers,
        "stream": st.none() | st.booleans(),
        "n": st.none() | st.just(1),
        "logprobs": st.none() | st.just(False),
        "tools": st.none() | st.just([]),
        "user": texts,
        "anything_else": st.recursive(texts | st.integers(), st.lists),
    },
)


@given(requests)
def test_every_request_that_is_read_becomes_a_task_that_every_dispatcher_reads(fields: dict[str, Any]) -> None:
    task = chat_question(json.dumps(fields).encode(), FETCHER).draft
    assert decode(encode(task), TaskSubmitted) == task
    assert len(task.messages) == len(fields["messages"])
    for message, given_message in zip(task.messages, fields["messages"], strict=True):
        content = given_message["content"]
        whole = content if isinstance(content, str) else "".join(part["text"] for part in content)
        assert (message.role, message.content) == (given_message["role"], whole)


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_a_400(data: bytes) -> None:
    error = refusal(data)
    assert error.status == 400
    assert set(json.loads(error.body())["error"]) == {"message", "type", "param", "code"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(ChatRequest.__struct_fields__), json_values, max_size=4))
def test_no_json_does_anything_but_a_400_or_a_task(fields: dict[str, Any]) -> None:
    outcome = read_or_refuse(body(**fields))
    if isinstance(outcome, ApiError):
        assert outcome.status == 400
        assert json.loads(outcome.body())["error"]["message"]
    else:
        assert decode(encode(outcome.draft), TaskSubmitted).model == outcome.model


def read_or_refuse(data: bytes) -> ChatQuestion | ApiError:
    try:
        return chat_question(data, FETCHER)
    except ApiError as error:
        return error


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
@pytest.mark.parametrize("value", [5, "x", {"a": 1}, [1]])
def test_what_engines_cannot_do_is_refused_by_name_whatever_its_value(name: str, value: object) -> None:
    error = refusal(body(**{name: value}))
    assert (error.code, error.param) == ("unsupported_parameter", name)
    assert name in error.message


@pytest.mark.parametrize("name", sorted(UNSUPPORTED | UNSUPPORTED_VALUES))
def test_what_is_not_asked_for_is_not_refused(name: str) -> None:
    assert chat_question(body(**{name: None}), FETCHER).model == "m"


def test_every_name_that_is_refused_is_a_field() -> None:
    assert set(ChatRequest.__struct_fields__) >= UNSUPPORTED | UNSUPPORTED_VALUES


def test_one_stop_text_is_a_list_of_one() -> None:
    assert chat_question(body(stop="END"), FETCHER).draft.sampling.stop == ("END",)
    assert chat_question(body(stop=["a", "b"]), FETCHER).draft.sampling.stop == ("a", "b")
    assert chat_question(body(stop=None), FETCHER).draft.sampling.stop == ()


def test_the_newer_name_of_max_tokens_wins() -> None:
    asked = chat_question(body(max_tokens=5, max_completion_tokens=7), FETCHER)
    assert asked.draft.sampling.max_tokens == 7


def test_an_error_names_the_choices() -> None:
    error = refusal(body(messages=[{"role": "robot", "content": "x"}]))
    assert "system, developer, user, assistant" in error.message


def test_an_error_says_what_came_and_what_was_expected() -> None:
    error = refusal(body(temperature="hot"))
    assert error.message == "Invalid type for 'temperature': expected a number, but got a string instead."


def test_an_error_never_breaks_on_half_a_character() -> None:
    error = ApiError(400, "bad \ud800", code=None, param="\udfff")
    assert msgspec.json.decode(error.body())["error"]["message"] == "bad ?"
