"""Calls of functions and log probabilities as OpenAI's objects, whole and as they are written."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat._completions import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.http.chat.answer import ChunkFrames, whole_answer
from mesh.bus.answer import AnswerText, Step
from streams.events import TaskAssigned, TaskChunk, TaskEnded
from streams.tasks.answer_parts import LikelyToken, TokenLogprob, ToolCallPiece
from streams.tasks.chat import Usage
from streams.tasks.task import Phase, TaskState
from streams.tasks.task_id import new_task_id

TASK = new_task_id(1_700_000_000_000)
COMPLETED = TaskState(
    phase=Phase.ENDED,
    outcome="completed",
    finish_reason="tool_calls",
    usage=Usage(prompt_tokens=3, completion_tokens=4),
)
WEATHER = [
    ToolCallPiece(index=0, id="call_a", name="weather"),
    ToolCallPiece(index=0, arguments='{"city":'),
    ToolCallPiece(index=0, arguments='"Oslo"}'),
    ToolCallPiece(index=1, id="call_b", name="clock", arguments="{}"),
]


def step(n: int, **fields: Any) -> Step:
    return Step(TaskChunk(n=n, attempt=1, offset=0, tokens=1, **{"text": "", **fields}), "n1", TaskState())


def calling(pieces: list[ToolCallPiece]) -> list[Step]:
    return [step(n, tool_calls=(piece,)) for n, piece in enumerate(pieces, 2)]


def whole(steps: list[Step]) -> dict[str, Any]:
    answer = AnswerText()
    answer.take(steps)
    return json.loads(whole_answer(TASK, "m", answer, COMPLETED))["choices"][0]


def streamed(steps: list[Step]) -> list[dict[str, Any]]:
    writer = ChunkFrames(TASK, "m", include_usage=False)
    ended = Step(TaskEnded(n=99, at_ms=0, outcome="completed"), "mesh", COMPLETED)
    written = b"".join(writer.write(one) for one in (*steps, ended)).decode()
    lines = [line.removeprefix("data: ") for line in written.split("\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_a_whole_answer_that_only_calls_has_null_for_its_content() -> None:
    choice = whole(calling(WEATHER))
    assert choice == {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
                {"id": "call_b", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
            ],
        },
        "logprobs": None,
        "finish_reason": "tool_calls",
    }


def test_text_before_calls_is_kept() -> None:
    choice = whole([step(2, text="Let me see."), *calling(WEATHER)])
    assert choice["message"]["content"] == "Let me see."
    assert len(choice["message"]["tool_calls"]) == 2


def test_a_call_is_named_once_and_then_grows() -> None:
    chunks = streamed(calling(WEATHER))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [
        {"role": "assistant", "content": None, "refusal": None},
        {"tool_calls": [called(0, "call_a", "weather", "")]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]},
        {"tool_calls": [called(1, "call_b", "clock", "{}")]},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 5 + ["tool_calls"]


def called(index: int, call: str, name: str, arguments: str) -> dict[str, Any]:
    return {"index": index, "id": call, "type": "function", "function": {"name": name, "arguments": arguments}}


texts = st.text(max_size=8)
pieces = st.lists(texts, min_size=1, max_size=4)


@given(texts, st.lists(pieces, min_size=1, max_size=3))
def test_openais_own_accumulator_makes_the_same_of_a_stream_as_of_the_whole(text: str, calls: list[list[str]]) -> None:
    parts = [
        ToolCallPiece(index=index, arguments=part, **({"id": f"c{index}", "name": f"f{index}"} if at == 0 else {}))
        for index, call in enumerate(calls)
        for at, part in enumerate(call)
    ]
    steps = [step(2, text=text), *calling(parts)]
    state = ChatCompletionStreamState()
    for chunk in streamed(steps):
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    gathered = state.get_final_completion().choices[0].message
    message = ChatCompletion.model_validate({**EMPTY, "choices": [whole(steps)]}).choices[0].message
    assert (gathered.content or "") == (message.content or "") == text
    came = [(call.id, call.function.name, call.function.arguments) for call in gathered.tool_calls or ()]
    assert came == [
        (call.id, call.function.name, call.function.arguments)
        for call in message.tool_calls or ()
        if call.type == "function"
    ]


EMPTY = {"id": "x", "created": 0, "model": "m", "object": "chat.completion"}

LIKELY = TokenLogprob(
    token="å",
    logprob=-0.25,
    top=(LikelyToken(token="å", logprob=-0.25), LikelyToken(token="\ufffd", logprob=-2.5, raw=b"\xf0\x9f")),
)


def test_log_probabilities_have_bytes_and_what_else_was_likely() -> None:
    expected = {
        "content": [
            {
                "token": "å",
                "logprob": -0.25,
                "bytes": [0xC3, 0xA5],
                "top_logprobs": [
                    {"token": "å", "logprob": -0.25, "bytes": [0xC3, 0xA5]},
                    {"token": "\ufffd", "logprob": -2.5, "bytes": [0xF0, 0x9F]},
                ],
            }
        ],
        "refusal": None,
    }
    steps = [step(2, text="å", logprobs=(LIKELY,))]
    assert whole(steps)["logprobs"] == expected
    choices = [chunk["choices"][0] for chunk in streamed(steps)]
    assert [choice["logprobs"] for choice in choices] == [None, expected, None]
    assert choices[1]["delta"] == {"content": "å"}


def test_an_answer_that_begins_again_drops_the_calls_and_probabilities_that_are_void() -> None:
    again = Step(TaskAssigned(n=6, at_ms=0, attempt=2, node="n2", policy="p", seam="restarted"), "mesh", TaskState())
    answer = AnswerText()
    answer.take([*calling(WEATHER), step(5, text="x", logprobs=(LIKELY,)), again, step(7, text="Oslo.")])
    assert (str(answer), answer.tool_calls, answer.logprobs) == ("Oslo.", (), ())
