"""Calls in the form that our grammar has for them: told to the model, written by it, and read back piece by piece."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.engine import Generate
from nodes.engines.grammar.call_form import with_calls_as_text, with_functions
from nodes.engines.grammar.call_reader import CallReader
from nodes.engines.llama.plain_text import NO_MARKERS, WORD_JOINER, Mended, PlainText
from nodes.engines.llama.request import LLAMA_ABILITIES, llama_request
from nodes.errors import RequestRefused
from streams.tasks.answer_parts import ToolCallPiece, joined_calls
from streams.tasks.chat import Message, Sampling, TokenBias, ToolCall
from streams.tasks.tools import Function, OutputFormat, Tools

USER = Message(role="user", content="hi")
TEXT = st.text(alphabet="ab<tol_c>\n{}", max_size=12).filter(lambda text: "<tool_call>" not in text)
VALUES = st.dictionaries(
    st.text(alphabet='a"\\{}[]', max_size=4), st.text(alphabet='b"\\{}[]<>🌊', max_size=6), max_size=3
)


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def read(reader: CallReader, *parts: str) -> tuple[str, tuple[ToolCallPiece, ...]]:
    found = [reader.push(part) for part in parts]
    return "".join(one.text for one in found) + reader.rest(), tuple(piece for one in found for piece in one.calls)


@given(TEXT, st.lists(st.tuples(st.sampled_from(["f", "get_x"]), VALUES), max_size=3), st.integers(1, 7))
def test_text_and_calls_are_read_the_same_wherever_they_are_cut(
    text: str, calls: list[tuple[str, dict[str, str]]], size: int
) -> None:
    written = text + "\n".join(call(name, json.dumps(arguments)) for name, arguments in calls)
    if text.endswith("<") and calls:
        written = written.replace("<<tool_call>", "< <tool_call>")
        text = f"{text} "
    reader = CallReader(Mended(NO_MARKERS, ""))
    shown, pieces = read(reader, *(written[at : at + size] for at in range(0, len(written), size)))
    assert shown == text
    assert [(one.name, json.loads(one.arguments)) for one in joined_calls(pieces)] == calls
    assert reader.has_called is bool(calls)
    ids = [piece.id for piece in pieces if piece.id is not None]
    assert len(ids) == len(set(ids)) == len(calls)


def test_arguments_come_as_they_are_written_and_not_before() -> None:
    reader = CallReader(Mended(NO_MARKERS, ""))
    assert reader.push('So <tool_call>\n{"name": "f", "argum') == ("So ", ())
    [begun, first] = reader.push('ents": {"a": "}').calls
    assert (begun.index, begun.name, begun.arguments) == (0, "f", "")
    assert first == ToolCallPiece(index=0, arguments='{"a": "}')
    assert reader.push('\\"').calls == (ToolCallPiece(index=0, arguments='\\"'),)
    assert reader.push('"}}\n</tool_call>').calls == (ToolCallPiece(index=0, arguments='"}'),)
    assert reader.rest() == ""


def test_a_marker_that_was_broken_is_mended_in_arguments_too() -> None:
    reader = CallReader(Mended(PlainText(("<s>",)), ""))
    _, pieces = read(reader, call("f", f'{{"a": "<{WORD_JOINER}s>"}}'))
    assert joined_calls(pieces)[0].arguments == '{"a": "<s>"}'


def test_functions_are_told_in_the_system_s_turn() -> None:
    tools = Tools(functions=(Function(name="f", description="Does <s> it."),), choice="required")
    own = with_functions((Message(role="system", content="Be brief."), USER), tools, PlainText(("<s>",)))
    assert [turn.role for turn in own] == ["system", "user"]
    assert own[0].content.startswith("Be brief.\n\nYou can call functions")
    assert "<s>" not in own[0].content, "what a user wrote must not speak as a marker"
    assert own[0].content.endswith("Answer with calls and nothing else.")
    [system, _] = with_functions((USER,), Tools(functions=(Function(name="f"),)), NO_MARKERS)
    assert (system.role, "nothing else" in system.content) == ("system", False)


def test_calls_and_results_of_the_past_stand_as_the_model_writes_them() -> None:
    made = (ToolCall(id="1", name="f", arguments="{}"), ToolCall(id="2", name="g", arguments='{"a":"<s>"}'))
    turns = with_calls_as_text(
        (
            USER,
            Message(role="assistant", content="I look.", tool_calls=made),
            Message(role="tool", content="one", tool_call_id="1"),
            Message(role="tool", content="two", tool_call_id="2"),
            USER,
        ),
        PlainText(("<s>",)),
    )
    assert [turn.role for turn in turns] == ["user", "assistant", "user", "user"]
    assert turns[1].content.startswith(f"I look.\n{call('f', '{}')}\n<tool_call>")
    assert "<s>" not in turns[1].content
    assert turns[2].content == "<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response>"


async def test_a_request_without_demands_is_left_as_it_is() -> None:
    asked = await llama_request(Generate(messages=(USER,)), NO_MARKERS, (), 9)
    assert (asked.conversation.turns, asked.grammar, asked.reader()) == ((USER,), None, None)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Generate(messages=(USER,), sampling=Sampling(logit_bias=(TokenBias(token=9, bias=1),))), "invalid_input"),
        (Generate(messages=(USER,), format=OutputFormat(kind="json_object"), prefix="{"), "invalid_messages"),
        (Generate(messages=(USER,), tools=Tools(functions=(Function(name="f"),)), prefix="x"), "invalid_messages"),
    ],
)
async def test_what_no_engine_of_llama_cpp_can_do_is_refused(request_: Generate, code: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        await llama_request(request_, NO_MARKERS, LLAMA_ABILITIES, 9)
    assert refused.value.code == code
