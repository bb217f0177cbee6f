"""What a server can do beyond text: found out by trying, asked for in OpenAI's words, and read back piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from nodes.engine import EngineSpec, Generate, Piece, RemoteSpec
from nodes.engines import open_engine
from nodes.engines.remote.wire_calls import CallNumbers, WireCall
from nodes.errors import EngineError, RequestRefused
from streams.tasks.answer_parts import ToolCallPiece, joined_calls
from streams.tasks.chat import ImagePart, Message, Sampling, TextPart, TokenBias, ToolCall
from streams.tasks.tools import Function, OutputFormat, Tools
from tests.integration.remote.test_openai_engine import ASKED, started
from tests.played_chat_server import PlayedChatServer

if TYPE_CHECKING:
    from nodes.engine import Engine
    from streams.devices.replica import Ability

ALL: tuple[Ability, ...] = ("tools", "schema", "vision", "logprobs", "logit_bias")
LOOK = Function(name="look", description="Looks.", parameters_json='{"type":"object"}', strict=True)
NOTE = Function(name="note")


async def demanded(engine: Engine, *messages: Message, **demands: Any) -> list[Piece]:
    request = Generate(**{"messages": messages or ASKED, "sampling": Sampling(max_tokens=3), **demands})
    return [piece async for piece in engine.generate(request)]


@pytest.mark.parametrize("able", [(), *((ability,) for ability in ALL), ALL])
async def test_what_a_server_can_do_beyond_text_is_found_out_by_trying(able: tuple[Ability, ...]) -> None:
    async with PlayedChatServer(able=frozenset(able)).running() as server, started(server) as (_, replica):
        assert replica.abilities == able


async def test_what_a_server_refuses_or_its_owner_will_not_have_is_not_announced() -> None:
    server = PlayedChatServer(able=frozenset(ALL), refused=frozenset({"tools", "logit_bias"}))
    async with server.running():
        spec = EngineSpec(engine="openai", without=("logprobs",), remote=RemoteSpec(url=server.url))
        engine = open_engine(spec)
        assert (await engine.start()).abilities == ("schema", "vision")
        assert not any("logprobs" in body for body in server.asked)
        with pytest.raises(RequestRefused, match="tools") as refused:
            await demanded(engine, tools=Tools(functions=(NOTE,)))
        assert refused.value.code == "unsupported_ability"
        await engine.stop()


@pytest.mark.parametrize("raw", ["as it stands", "in a template", "no"])
async def test_a_raw_prompt_is_announced_where_it_is_gone_on_with_as_it_stands(raw: Any) -> None:
    able = frozenset({"logprobs", "logit_bias"})
    async with PlayedChatServer(able=able, raw=raw).running() as server, started(server) as (engine, replica):
        assert replica.abilities == ("logprobs", "logit_bias", *(("raw_prompt",) if raw == "as it stands" else ()))
        if raw == "as it stands":
            # The older form of probabilities, which vLLM has here.
            pieces = await demanded(engine, messages=(), prompt="Once", sampling=Sampling(max_tokens=2, top_logprobs=1))
            assert [(place.token, place.logprob, len(place.top)) for piece in pieces for place in piece.logprobs] == [
                ("lorem ", -0.5, 1),
                ("ipsum ", -0.5, 1),
            ]
            assert server.asked[-1]["prompt"] == "Once"
            assert "messages" not in server.asked[-1]
        else:
            with pytest.raises(RequestRefused, match="raw prompt"):
                await demanded(engine, messages=(), prompt="Once")


async def test_what_a_server_does_in_a_chat_alone_is_refused_behind_a_raw_prompt() -> None:
    server = PlayedChatServer(able=frozenset({"logprobs"}), raw="as it stands", raw_logprobs=False)
    async with server.running(), started(server) as (engine, replica):
        assert replica.abilities == ("logprobs", "raw_prompt")
        with pytest.raises(RequestRefused, match="logprobs"):
            await demanded(engine, messages=(), prompt="Once", sampling=Sampling(max_tokens=2, top_logprobs=1))


async def test_calls_come_with_their_arguments_as_they_are_written() -> None:
    async with PlayedChatServer(able=frozenset(ALL)).running() as server, started(server) as (engine, _):
        tools = Tools(functions=(LOOK, NOTE), choice="required")
        pieces = await demanded(engine, tools=tools)
        assert [piece.tool_calls for piece in pieces if piece.tool_calls] == [
            (ToolCallPiece(index=0, id="call_look", name="look", arguments='{"word": '),),
            (ToolCallPiece(index=0, arguments='"sea"}'),),
            (ToolCallPiece(index=1, id="call_note", name="note", arguments='{"word": '),),
            (ToolCallPiece(index=1, arguments='"sea"}'),),
        ]
        assert pieces[-1].finish_reason == "tool_calls", "although the server calls it a stop"
        body = server.asked[-1]
        look = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}, "strict": True}
        note = {"name": "note"}
        assert body["tools"] == [{"type": "function", "function": one} for one in (look, note)]
        assert body["tool_choice"] == "required"
        assert "parallel_tool_calls" not in body
        await demanded(engine, tools=Tools(functions=(LOOK, NOTE), choice="named", name="note", parallel=False))
        assert server.asked[-1]["tool_choice"] == {"type": "function", "function": {"name": "note"}}
        assert server.asked[-1]["parallel_tool_calls"] is False


async def test_calls_results_pictures_and_the_rest_go_out_in_openai_s_words() -> None:
    async with PlayedChatServer(able=frozenset(ALL)).running() as server, started(server) as (engine, _):
        picture = ImagePart(media_type="image/png", data=b"\x89PNG", detail="low")
        said = (
            Message(role="user", content="look", parts=(TextPart(text="look"), picture)),
            Message(role="assistant", content="", tool_calls=(ToolCall(id="1", name="look", arguments="{}"),)),
            Message(role="tool", content="a fish", tool_call_id="1"),
        )
        sampling = Sampling(max_tokens=1, top_logprobs=0, logit_bias=(TokenBias(token=7, bias=-1),))
        form = OutputFormat(kind="json_schema", schema_json='{"type":"object"}', strict=False)
        await demanded(engine, *said, sampling=sampling, format=form)
        body = server.asked[-1]
        url = {"url": "data:image/png;base64,iVBORw==", "detail": "low"}
        parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": url}]
        call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        assert body["messages"] == [
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "a fish", "tool_call_id": "1"},
        ]
        assert body["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": False},
        }
        assert (body["logit_bias"], body["logprobs"], body["top_logprobs"]) == ({"7": -1.0}, True, 1)
        await demanded(engine, format=OutputFormat(kind="json_object"))
        assert server.asked[-1]["response_format"] == {"type": "json_object"}


async def test_logprobs_come_with_as_many_likely_tokens_as_were_asked_for() -> None:
    async with PlayedChatServer(able=frozenset(ALL)).running() as server, started(server) as (engine, _):
        for top in (0, 2):
            pieces = await demanded(engine, sampling=Sampling(max_tokens=3, top_logprobs=top))
            places = [place for piece in pieces for place in piece.logprobs]
            assert [(place.token, place.logprob, len(place.top)) for place in places] == [
                ("lorem ", -0.5, top),
                ("ipsum ", -0.5, top),
                ("dolor ", -0.5, top),
            ]


@pytest.mark.parametrize("schema", ['{}}, "cache_prompt": {"a": 1}', "[]", "{" * 10_000, "\ud800"])
async def test_a_schema_never_breaks_out_of_its_place_in_the_request(schema: str) -> None:
    async with PlayedChatServer(able=frozenset(ALL)).running() as server, started(server) as (engine, _):
        for demands in (
            {"format": OutputFormat(kind="json_schema", schema_json=schema)},
            {"tools": Tools(functions=(Function(name="f", parameters_json=schema),))},
        ):
            with pytest.raises(RequestRefused) as refused:
                await demanded(engine, **demands)
            assert refused.value.code == "unsupported_schema"
        assert not server.asked


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([{"index": 3, "id": "a", "function": {"name": "f"}}, {"index": 3, "function": {"arguments": "{}"}}], "{}"),
        ([{"id": "a", "function": {"name": "f", "arguments": "{"}}, {"function": {"arguments": "}"}}], "{}"),
        ([{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}] * 2, "{{"),
        ([{"index": 0, "id": "x" * 99, "function": {"name": "f", "arguments": None}}], ""),
    ],
)
def test_calls_of_any_server_are_numbered_and_named_once(calls: list[Any], expected: str) -> None:
    numbers = CallNumbers()
    pieces = numbers.read(msgspec.convert(calls, list[WireCall]))
    [call] = joined_calls(pieces)
    assert (call.index, call.name, call.arguments) == (0, "f", expected)
    assert [piece.name for piece in pieces].count("f") == numbers.count == 1
    assert call.id


@pytest.mark.parametrize("call", [{"index": 0}, {"index": 0, "function": {"name": "x" * 65}}])
def test_a_call_of_nothing_is_an_error_of_the_server(call: Any) -> None:
    with pytest.raises(EngineError, match="without a name"):
        CallNumbers().read([msgspec.convert(call, WireCall)])
