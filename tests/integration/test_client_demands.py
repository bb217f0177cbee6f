"""Functions, formats and log probabilities through the Python client, on a mesh with an engine that can do them."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

import mesh
from mesh.client.client import Client, open_client
from mesh.client.options import ClientOptions
from nodes.engine import EngineSpec
from streams.tasks.answer_parts import ToolCallPiece, bytes_of, joined_calls
from streams.tokens import Token
from tests.mesh_in_process import InProcessMesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

CITY = '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
TOOLS = mesh.Tools(functions=(mesh.Function(name="weather", parameters_json=CITY),), choice="required")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh") / "data") as running:
        await running.add_dispatcher()
        await running.add_node("able", interval_s=5)
        deaf = EngineSpec(engine="synthetic", model_id="plain", slots=4, without=("tools",))
        await running.add_node("plain", interval_s=5, spec=deaf)
        seed = running.server.credentials.user.seed_path
        options = ClientOptions(servers=(running.server.url,), account=Token("local"), seed_file=seed)
        async with await open_client(options) as connected:
            yield connected


async def test_calls_come_piece_by_piece_and_whole(client: Client) -> None:
    answer = await client.submit("synthetic", "How is it?", tools=TOOLS)
    pieces = [piece async for piece in answer]
    written: list[ToolCallPiece] = [call for piece in pieces for call in piece.tool_calls]
    result = await answer.result()
    (call,) = result.tool_calls
    assert (result.finish_reason, result.text, call.name) == ("tool_calls", "", "weather")
    assert "city" in json.loads(call.arguments)
    assert [(one.id, one.name, one.arguments) for one in joined_calls(written)] == [
        (call.id, call.name, call.arguments)
    ]


async def test_a_prompt_is_sent_as_it_stands_where_that_is_asked_for(client: Client) -> None:
    raw, said = [
        await (await client.submit("synthetic", "tale", raw=is_raw, max_tokens=3)).result() for is_raw in (True, False)
    ]
    assert (raw.finish_reason, len(raw.text.split())) == ("length", 3)
    assert raw.text != said.text


async def test_who_reads_later_or_from_the_middle_gets_the_rest_of_a_call(client: Client) -> None:
    answer = await client.submit("synthetic", "How is it?", tools=TOOLS)
    first = [piece async for piece in answer]
    result = await answer.result()
    for at, piece in enumerate(first):
        resumed = await client.resume(answer.task, after=piece.n)
        assert [later async for later in resumed] == first[at + 1 :]
        assert (await resumed.result()).tool_calls == result.tool_calls


async def test_the_answer_to_a_call_goes_back_in_a_conversation(client: Client) -> None:
    question = mesh.Message(role="user", content="How is it?")
    called = await (await client.submit("synthetic", [question], tools=TOOLS)).result()
    turn = mesh.Message(role="assistant", content=called.text, tool_calls=called.tool_calls)
    told = mesh.Message(role="tool", content="It rains.", tool_call_id=called.tool_calls[0].id)
    result = await (await client.submit("synthetic", [question, turn, told])).result()
    assert result.text
    assert result.tool_calls == ()


async def test_a_format_is_kept_to_and_probabilities_are_those_of_the_text(client: Client) -> None:
    wanted = mesh.OutputFormat(kind="json_schema", schema_json=CITY)
    result = await (await client.submit("synthetic", "Where?", format=wanted)).result()
    assert "city" in json.loads(result.text)
    likely = await (
        await client.submit("synthetic", "Where?", max_tokens=5, top_logprobs=1, logit_bias={3: -50})
    ).result()
    assert b"".join(map(bytes_of, likely.logprobs)).decode() == likely.text
    assert all(len(token.top) == 1 for token in likely.logprobs)


async def test_what_no_node_can_do_and_what_makes_no_sense_is_refused_by_name(client: Client) -> None:
    with pytest.raises(mesh.TaskFailedError, match="'tools'") as failed:
        await (await client.submit("plain", "How is it?", tools=TOOLS)).result()
    assert (failed.value.code, failed.value.status) == ("unsupported_parameter", 400)
    named = mesh.Tools(functions=TOOLS.functions, choice="named", name="clock")
    with pytest.raises(mesh.TaskFailedError, match="no function 'clock'"):
        await (await client.submit("synthetic", "How is it?", tools=named)).result()
    with pytest.raises(mesh.TaskRefused):
        await client.submit("synthetic", "How is it?", tools=mesh.Tools(functions=()))
