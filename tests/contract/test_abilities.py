"""What an engine announces beyond plain text it does, for whatever the small model is worth; all else it refuses."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings

from nodes.engine import Generate, Piece
from nodes.engines.grammar.rules import MOST_AT_ONCE
from nodes.errors import RequestRefused
from streams.tasks.answer_parts import bytes_of, joined_calls
from streams.tasks.chat import Message, Sampling, TokenBias, ToolCall
from streams.tasks.tools import Function, OutputFormat, Tools
from tests.contract.asking import pieces_of, text_of
from tests.contract.engine_cases import ANNOUNCING, ASKING, CASES, WITH_FILE, Case, Started, servers_running, start
from tests.unit.json_schemas import schemas

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from streams.devices.replica import Ability

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
    # LiteLLM's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MESSAGES = (Message(role="user", content="What is the weather in Oslo?"),)
CITY = {"type": "string", "minLength": 1, "maxLength": 12}
WEATHER = Function(
    name="weather",
    description="Tells the weather.",
    parameters_json=json.dumps(
        {
            "type": "object",
            "properties": {"city": CITY, "days": {"type": "integer", "minimum": 1, "maximum": 14}},
            "required": ["city"],
            "additionalProperties": False,
        }
    ),
    strict=True,
)
TIME = Function(name="time", parameters_json='{"type":"object","properties":{}}')
BOTH = (WEATHER, TIME)
RAW_PROMPT = "The capital of France is"
RAW_TOKENS = [504, 3575, 282, 4649, 314]
"""The same in the small model's vocabulary."""
MARKED_TOKENS = 6
SHORT = Sampling(temperature=0, max_tokens=8)
ROOM = 80
"""Tokens that any of these calls has room in."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[None]:
    async with servers_running(tmp_path_factory.mktemp("vllm")):
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=CASES, ids=str)
async def started(request: pytest.FixtureRequest):
    running = await start(request.param)
    yield running
    await running.engine.stop()


def each(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """Only these engines; the test of what others do not announce is that of its refusal."""
    return pytest.mark.parametrize("started", cases, indirect=True, ids=str, scope="module")


async def answer(started: Started, **demands: Any) -> list[Piece]:
    sampling = demands.pop("sampling", Sampling(temperature=0, max_tokens=ROOM))
    return await pieces_of(started.engine, Generate(**{"messages": MESSAGES, "sampling": sampling, **demands}))


def calls_of(pieces: list[Piece]) -> list[tuple[str | None, Any]]:
    calls = joined_calls(call for piece in pieces for call in piece.tool_calls)
    assert len({call.id for call in calls}) == len(calls)
    assert all(call.id for call in calls)
    return [(call.name, json.loads(call.arguments)) for call in calls]


async def test_each_engine_announces_what_is_known_of_it(started: Started) -> None:
    assert set(started.replica.abilities) == started.case.abilities


async def test_what_it_does_not_announce_it_refuses_by_name(started: Started) -> None:
    demands: dict[Ability, dict[str, Any]] = {
        "tools": {"tools": Tools(functions=BOTH)},
        "schema": {"format": OutputFormat(kind="json_object")},
        "logprobs": {"sampling": Sampling(top_logprobs=0, max_tokens=1)},
        "logit_bias": {"sampling": Sampling(logit_bias=(TokenBias(token=1, bias=1),), max_tokens=1)},
        "raw_prompt": {"messages": (), "prompt": "Once"},
    }
    for ability, demand in demands.items():
        if ability not in started.replica.abilities:
            with pytest.raises(RequestRefused) as refused:
                await answer(started, **demand)
            assert refused.value.code == "unsupported_ability"
    assert started.engine.load().running == 0


@each(ANNOUNCING["tools"])
@pytest.mark.parametrize("choice", ["required", "named"])
async def test_a_call_that_must_be_made_is_made_and_its_arguments_fit(started: Started, choice: Any) -> None:
    tools = Tools(functions=BOTH, choice=choice, name="weather" if choice == "named" else None, parallel=False)
    pieces = await answer(started, tools=tools)
    [(name, arguments)] = calls_of(pieces)
    function = next(function for function in BOTH if function.name == name)
    assert choice == "required" or function is WEATHER
    jsonschema.validate(arguments, json.loads(function.parameters_json))
    assert text_of(pieces) == ""
    assert pieces[-1].finish_reason == "tool_calls"
    assert pieces[-1].usage is not None
    assert sum(piece.tokens for piece in pieces) == pieces[-1].usage.completion_tokens


@each(ANNOUNCING["tools"])
async def test_calls_of_the_model_s_own_choice_fit_too(started: Started) -> None:
    pieces = await answer(started, tools=Tools(functions=BOTH))
    if pieces[-1].finish_reason == "tool_calls":
        for name, arguments in calls_of(pieces):
            function = next(function for function in BOTH if function.name == name)
            jsonschema.validate(arguments, json.loads(function.parameters_json))
    assert text_of(pieces) or calls_of(pieces)


async def test_no_call_is_made_where_none_may_be(started: Started) -> None:
    pieces = await answer(started, tools=Tools(functions=BOTH, choice="none"), sampling=Sampling(max_tokens=5))
    assert calls_of(pieces) == []
    assert text_of(pieces)


@each(ANNOUNCING["tools"])
async def test_calls_and_their_results_are_a_conversation(started: Started) -> None:
    called = ToolCall(id="call_1", name="weather", arguments='{"city": "Oslo"}')
    messages = (
        *MESSAGES,
        Message(role="assistant", content="", tool_calls=(called,)),
        Message(role="tool", content="It snows.", tool_call_id="call_1"),
    )
    request = Generate(messages=messages, sampling=Sampling(max_tokens=3), tools=Tools(functions=BOTH, choice="none"))
    with_result = (await pieces_of(started.engine, request))[-1].usage
    without = (await answer(started, sampling=Sampling(max_tokens=1)))[-1].usage
    assert with_result is not None
    assert without is not None
    assert with_result.prompt_tokens > without.prompt_tokens


@each(ANNOUNCING["schema"])
async def test_json_under_a_schema_fits_it(started: Started) -> None:
    pieces = await answer(
        started, format=OutputFormat(kind="json_schema", name="w", schema_json=WEATHER.parameters_json)
    )
    jsonschema.validate(json.loads(text_of(pieces)), json.loads(WEATHER.parameters_json))
    assert pieces[-1].finish_reason == "stop"


@each(WITH_FILE)
async def test_the_most_that_a_schema_may_repeat_is_taken_and_enforced(started: Started) -> None:
    longest = json.dumps({"type": "string", "minLength": MOST_AT_ONCE, "maxLength": MOST_AT_ONCE})
    pieces = await answer(
        started,
        format=OutputFormat(kind="json_schema", schema_json=longest),
        sampling=Sampling(temperature=0, max_tokens=4),
    )
    assert text_of(pieces).startswith('"')
    assert pieces[-1].finish_reason == "length"


async def test_an_answer_that_is_held_to_something_is_written_from_its_beginning(started: Started) -> None:
    """No engine here leads a text through a grammar: who takes such an answer over writes it anew (``Replay``)."""
    held_to_json = Generate(messages=MESSAGES, prefix="{", format=OutputFormat(kind="json_object"))
    held_to_calls = Generate(messages=MESSAGES, prefix="{", tools=Tools(functions=BOTH))
    for request in (held_to_json, held_to_calls):
        assert not started.engine.can_continue(request)


@each(ANNOUNCING["logprobs"])
async def test_every_token_that_is_shown_has_its_logprob(started: Started) -> None:
    pieces = await answer(started, sampling=Sampling(temperature=0, max_tokens=8, top_logprobs=2))
    places = list(chain.from_iterable(piece.logprobs for piece in pieces))
    assert b"".join(map(bytes_of, places)).decode() == text_of(pieces)
    for place in places:
        assert len(place.top) == 2
        assert place.logprob <= 0
        assert place.top[0].logprob >= place.top[1].logprob
    assert places[0].token == places[0].top[0].token, "without temperature the likeliest is taken"
    bare = await answer(started, sampling=Sampling(temperature=0, max_tokens=8, top_logprobs=0))
    assert [place.logprob for piece in bare for place in piece.logprobs] == pytest.approx(
        [place.logprob for place in places], abs=0.05
    )
    assert not any(place.top for piece in bare for place in piece.logprobs)


@each([case for case in ANNOUNCING["logit_bias"] if case.has_model])
async def test_a_bias_decides_where_it_is_large(started: Started) -> None:
    bias = (TokenBias(token=504, bias=100),)
    pieces = await answer(started, sampling=Sampling(temperature=0, max_tokens=6, logit_bias=bias))
    assert text_of(pieces) == "The" * 6


@each(ANNOUNCING["raw_prompt"])
async def test_a_raw_prompt_is_gone_on_with_from_wherever_its_answer_was_cut(started: Started) -> None:
    asked: dict[str, Any] = {"messages": (), "prompt": RAW_PROMPT}
    whole = await answer(started, **asked, sampling=SHORT)
    text, usage = text_of(whole), whole[-1].usage
    assert usage is not None
    assert (sum(piece.tokens for piece in whole), whole[-1].finish_reason) == (SHORT.max_tokens, "length")
    # A token stands for a byte at least, and nothing stands around the text.
    assert 0 < usage.prompt_tokens <= len(RAW_PROMPT)
    at = len(whole[0].text + whole[1].text + whole[2].text)
    rest = text_of(await answer(started, **asked, sampling=SHORT, prefix=text[:at]))
    assert rest.startswith(text[at:])
    as_messages = (Message(role="user", content=RAW_PROMPT),)
    assert not started.case.has_model or text_of(await answer(started, messages=as_messages, sampling=SHORT)) != text


@each([case for case in ANNOUNCING["raw_prompt"] if case.has_model])
async def test_the_answer_to_a_raw_prompt_is_that_to_its_tokens_and_nothing_else(started: Started) -> None:
    """The counterpart is llama.cpp's own server, which is given the tokens themselves."""
    server = next(spec.remote.url for case, spec in ASKING.items() if case.spec.engine == "openai")
    wanted = {"prompt": RAW_TOKENS, "max_tokens": SHORT.max_tokens, "temperature": 0, "cache_prompt": False}
    async with ClientSession() as session, session.post(f"{server}/v1/completions", json=wanted) as response:
        told = await response.json()
    whole = await answer(started, messages=(), prompt=RAW_PROMPT, sampling=SHORT)
    assert whole[-1].usage is not None
    assert (text_of(whole), whole[-1].usage.prompt_tokens) == (told["choices"][0]["text"], len(RAW_TOKENS))
    # Its user may put the model's own markers into it: they are what they are.
    marked = await answer(started, messages=(), prompt="<|im_start|>user\nhi<|im_end|>\n", sampling=SHORT)
    assert marked[-1].usage is not None
    assert marked[-1].usage.prompt_tokens == MARKED_TOKENS


@each([case for case in ANNOUNCING["raw_prompt"] if case.has_model])
async def test_behind_a_raw_prompt_there_are_probabilities_and_biases_too(started: Started) -> None:
    sampling = Sampling(temperature=0, max_tokens=4, top_logprobs=2)
    pieces = await answer(started, messages=(), prompt=RAW_PROMPT, sampling=sampling)
    places = list(chain.from_iterable(piece.logprobs for piece in pieces))
    assert "".join(place.token for place in places) == text_of(pieces)
    assert all(len(place.top) == 2 for place in places)
    bias = Sampling(temperature=0, max_tokens=3, logit_bias=(TokenBias(token=504, bias=100),))
    assert text_of(await answer(started, messages=(), prompt=RAW_PROMPT, sampling=bias)) == "The" * 3


async def test_messages_tools_or_a_format_beside_a_raw_prompt_are_refused(started: Started) -> None:
    for beside in ({"messages": MESSAGES}, {"messages": (), "format": OutputFormat(kind="json_object")}):
        with pytest.raises(RequestRefused):
            await answer(started, prompt=RAW_PROMPT, **beside)


@each(WITH_FILE)
@given(schema=schemas())
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
async def test_whatever_the_schema_the_small_model_keeps_to_it(started: Started, schema: dict[str, Any]) -> None:
    short = bounded(schema)
    pieces = await answer(
        started,
        format=OutputFormat(kind="json_schema", schema_json=json.dumps(short)),
        sampling=Sampling(temperature=1.2, seed=1, max_tokens=250),
    )
    assert pieces[-1].finish_reason == "stop"
    jsonschema.validate(json.loads(text_of(pieces)), short)


def bounded(schema: Any) -> Any:
    """The same with short texts only: a small model goes on for ever where it may."""
    if isinstance(schema, list):
        return [bounded(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "string" and "maxLength" not in schema:
        return {**schema, "maxLength": 6}
    return {word: bounded(said) if word not in {"enum", "const", "required"} else said for word, said in schema.items()}
