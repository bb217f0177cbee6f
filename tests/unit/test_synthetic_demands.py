"""What the synthetic engine writes beside plain text: calls, JSON, logprobs; and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given, settings

from nodes.engine import EngineSpec, Generate, Piece
from nodes.engines import open_engine
from nodes.engines.synthetic.sample_json import sample
from nodes.errors import RequestRefused
from streams.tasks.answer_parts import joined_calls
from streams.tasks.chat import ImagePart, Message, Sampling, TokenBias, ToolCall
from streams.tasks.tools import Function, OutputFormat, Tools
from tests.unit.json_schemas import schemas

if TYPE_CHECKING:
    from streams.devices.replica import Ability

WEATHER = Function(
    name="weather",
    parameters_json='{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}}}',
)
TIME = Function(name="time")
SCHEMA = '{"type":"object","properties":{"names":{"type":"array","items":{"type":"string"}}},"required":["names"]}'
USER = (Message(role="user", content="the weather, please"),)


async def answer(
    *messages: Message,
    tools: Tools | None = None,
    sampling: Sampling | None = None,
    output_format: OutputFormat | None = None,
    without: tuple[Ability, ...] = (),
) -> list[Piece]:
    engine = open_engine(EngineSpec(engine="synthetic", without=without))
    await engine.start()
    request = Generate(messages=messages or USER, sampling=sampling or Sampling(), tools=tools, format=output_format)
    return [piece async for piece in engine.generate(request)]


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def calls_of(pieces: list[Piece]) -> list[tuple[str | None, Any]]:
    calls = joined_calls(call for piece in pieces for call in piece.tool_calls)
    return [(call.name, json.loads(call.arguments)) for call in calls]


@pytest.mark.parametrize(
    ("tools", "names"),
    [
        (Tools(functions=(TIME, WEATHER), choice="named", name="time"), ["time"]),
        (Tools(functions=(TIME, WEATHER), choice="required"), ["weather"]),
        (Tools(functions=(TIME,), choice="required"), ["time"]),
        (Tools(functions=(TIME, WEATHER)), ["weather"]),
        (Tools(functions=(TIME,)), []),
        (Tools(functions=(WEATHER,), choice="none"), []),
    ],
)
async def test_it_calls_what_it_must_and_else_what_is_spoken_of(tools: Tools, names: list[str]) -> None:
    pieces = await answer(tools=tools)
    assert [name for name, _ in calls_of(pieces)] == names
    assert pieces[-1].finish_reason == ("tool_calls" if names else "stop")
    assert bool(text_of(pieces)) is (tools.choice in {"auto", "none"})


async def test_it_calls_several_at_once_where_it_may() -> None:
    messages = Message(role="user", content="the weather at this time")
    both = await answer(messages, tools=Tools(functions=(TIME, WEATHER)))
    assert [name for name, _ in calls_of(both)] == ["time", "weather"]
    one = await answer(messages, tools=Tools(functions=(TIME, WEATHER), parallel=False))
    assert [name for name, _ in calls_of(one)] == ["time"]


async def test_a_call_comes_in_several_pieces_of_which_the_first_alone_names_it() -> None:
    pieces = await answer(tools=Tools(functions=(WEATHER,), choice="required"))
    calls = [call for piece in pieces for call in piece.tool_calls]
    assert len(calls) > 3
    assert [call.name for call in calls] == ["weather"] + [None] * (len(calls) - 1)
    assert [call.id is None for call in calls] == [False] + [True] * (len(calls) - 1)
    jsonschema.validate(calls_of(pieces)[0][1], json.loads(WEATHER.parameters_json))
    assert pieces == await answer(tools=Tools(functions=(WEATHER,), choice="required"))


async def test_a_call_that_has_no_room_is_cut() -> None:
    pieces = await answer(tools=Tools(functions=(WEATHER,), choice="required"), sampling=Sampling(max_tokens=2))
    assert len(pieces) == 2
    assert pieces[-1].finish_reason == "length"


async def test_json_under_a_schema_fits_it_and_without_one_is_an_object() -> None:
    under = await answer(output_format=OutputFormat(kind="json_schema", schema_json=SCHEMA))
    jsonschema.validate(json.loads(text_of(under)), json.loads(SCHEMA))
    assert under[-1].finish_reason == "stop"
    free = await answer(output_format=OutputFormat(kind="json_object"))
    assert isinstance(json.loads(text_of(free)), dict)


@given(schemas())
@settings(max_examples=60)
def test_what_it_makes_up_fits_any_plain_schema(schema: dict[str, Any]) -> None:
    jsonschema.validate(sample(json.dumps(schema), iter(str(n) for n in range(10**6))), schema)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("[]", "no JSON object"),
        ("{", "no JSON object"),
        ('{"type":"string","pattern":"a+"}', "it uses pattern"),
        ('{"$ref":"https://example.org/"}', "not inside"),
        ('{"$ref":"#/$defs/a"}', "not there"),
        ('{"$ref":"#"}', "nested too deeply"),
        ('{"properties":5}', "a value that no such keyword can have"),
        ('{"type":"wish"}', "the type 'wish'"),
        ("[" * 20_000, "no JSON object"),
    ],
)
async def test_a_schema_beyond_it_is_refused_and_named(schema: str, why: str) -> None:
    with pytest.raises(RequestRefused, match=why) as refused:
        await answer(output_format=OutputFormat(kind="json_schema", schema_json=schema))
    assert refused.value.code == "unsupported_schema"


@pytest.mark.parametrize("top", [0, 1, 20])
async def test_logprobs_come_for_each_token_that_is_shown(top: int) -> None:
    pieces = await answer(sampling=Sampling(top_logprobs=top, max_tokens=5))
    assert [place.token for piece in pieces for place in piece.logprobs] == [piece.text for piece in pieces]
    for piece in pieces:
        [place] = piece.logprobs
        assert len(place.top) == len({likely.token for likely in place.top}) == top
        assert [likely.token for likely in place.top[:1]] == [piece.text][:top]
        assert sorted(place.top, key=lambda likely: -likely.logprob) == list(place.top)


async def test_a_stop_string_has_no_logprobs() -> None:
    words = text_of(await answer(sampling=Sampling(max_tokens=6))).split()
    stop = f"{words[2]} {words[3]}"
    pieces = await answer(sampling=Sampling(max_tokens=6, top_logprobs=0, stop=(stop,)))
    assert [place.token.strip() for piece in pieces for place in piece.logprobs] == words[:2]


async def test_a_forbidden_word_is_not_written() -> None:
    everything_but_one = tuple(TokenBias(token=number, bias=-100) for number in range(29) if number != 4)
    assert text_of(await answer(sampling=Sampling(max_tokens=2, logit_bias=everything_but_one))) == "ember ember "


@pytest.mark.parametrize(
    ("ability", "demand"),
    [
        ("tools", {"tools": Tools(functions=(TIME,))}),
        ("schema", {"output_format": OutputFormat(kind="json_object")}),
        ("logprobs", {"sampling": Sampling(top_logprobs=0)}),
        ("logit_bias", {"sampling": Sampling(logit_bias=(TokenBias(token=1, bias=1),))}),
    ],
)
async def test_what_it_does_not_announce_it_refuses_by_name(ability: Ability, demand: dict[str, Any]) -> None:
    assert await answer(**demand)
    with pytest.raises(RequestRefused, match=ability) as refused:
        await answer(**demand, without=(ability,))
    assert refused.value.code == "unsupported_ability"


async def test_a_picture_and_a_call_in_the_conversation_are_never_passed_over() -> None:
    picture = Message(role="user", content="", parts=(ImagePart(media_type="image/png", data=b"1"),))
    other = Message(role="user", content="", parts=(ImagePart(media_type="image/png", data=b"2"),))
    assert text_of(await answer(picture)) != text_of(await answer(other))
    with pytest.raises(RequestRefused, match="pictures"):
        await answer(picture, without=("vision",))
    called = Message(role="assistant", content="", tool_calls=(ToolCall(id="1", name="time", arguments="{}"),))
    result = Message(role="tool", content="noon", tool_call_id="1")
    assert await answer(*USER, called, result)
    with pytest.raises(RequestRefused, match="tools"):
        await answer(*USER, called, result, without=("tools",))


async def test_calls_without_their_results_and_begun_answers_under_a_format_are_refused() -> None:
    called = Message(role="assistant", content="", tool_calls=(ToolCall(id="1", name="time", arguments="{}"),))
    with pytest.raises(RequestRefused, match="results"):
        await answer(*USER, called)
    with pytest.raises(RequestRefused, match="from its beginning"):
        await answer(*USER, Message(role="assistant", content="{"), output_format=OutputFormat(kind="json_object"))
