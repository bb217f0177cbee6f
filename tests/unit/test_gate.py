"""What the gate says of a question, however it came: over HTTP or straight on the bus."""

from datetime import timedelta
from typing import Any

import pytest

from gateway.dispatcher.gate import check_submission
from streams.clock import now_ms
from streams.events import TaskError, TaskSubmitted
from streams.subjects import TaskKey
from streams.tasks.chat import Message, Sampling
from streams.tasks.task_id import new_task_id
from streams.tasks.tools import OutputFormat, Tools
from streams.tokens import token

HELLO = (Message(role="user", content="hello"),)
SHORT = Sampling(max_tokens=5)


def error_of(**asked: Any) -> TaskError | None:
    return check_submission(
        TaskKey(token("local"), new_task_id()),
        TaskSubmitted(model="m", **asked),
        now_ms=now_ms(),
        retention=timedelta(days=1),
        is_known=lambda _: True,
    )


def test_messages_a_raw_prompt_or_texts_may_be_asked() -> None:
    assert error_of(messages=HELLO) is None
    assert error_of(texts=("a", "b"), dimensions=64) is None
    assert error_of(prompt="Once", sampling=SHORT) is None


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ({}, "messages", "has none of them"),
        ({"messages": HELLO, "texts": ("a",)}, "texts", "has 'messages' and 'texts'"),
        ({"messages": HELLO, "prompt": "a", "sampling": SHORT}, "prompt", "has 'messages' and 'prompt'"),
        ({"prompt": "a"}, "max_tokens", "need not come to an end"),
        ({"prompt": "a", "sampling": SHORT, "tools": Tools(functions=())}, "tools", "as it stands"),
        ({"prompt": "a", "sampling": SHORT, "format": OutputFormat(kind="json_object")}, "format", "as it stands"),
        ({"texts": ("a",), "sampling": Sampling(temperature=0.0)}, "sampling", "not sampled"),
        ({"messages": HELLO, "dimensions": 64}, "dimensions", "Only vectors"),
    ],
)
def test_anything_else_is_refused_as_http_would_refuse_it(asked: dict[str, Any], param: str, said: str) -> None:
    error = error_of(**asked)
    assert error is not None
    assert (error.code, error.status, error.param) == ("invalid_request_error", 400, param)
    assert said in error.message
