"""Functions and formats of a response, by OpenAI's own client and a mesh whose engine writes them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel

from tests.http_gateway import MODEL, serve_http
from tests.mesh_in_process import InProcessMesh

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Say how the weather is.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
CLOCK: Any = {"type": "function", "name": "clock", "parameters": {"type": "object", "properties": {}}, "strict": False}


class Place(BaseModel):
    name: str
    people: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[openai.AsyncOpenAI]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh") / "data") as mesh:
        await mesh.add_dispatcher()
        await mesh.add_node(interval_s=5)
        async with serve_http(mesh.bus) as gateway:
            await gateway.until_served()
            async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as connected:
                yield connected


async def test_functions_are_called_streamed_and_answered(client: openai.AsyncOpenAI) -> None:
    made = await client.responses.create(
        model=MODEL, input="weather clock", tools=[WEATHER, CLOCK], tool_choice="required"
    )
    calls = [item for item in made.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["weather", "clock"]
    assert set(json.loads(calls[0].arguments)) == {"city"}
    assert made.tools[0].model_dump(exclude_none=True) == WEATHER
    assert (made.tool_choice, made.parallel_tool_calls, made.status) == ("required", True, "completed")

    stream = await client.responses.create(
        model=MODEL, input="weather clock", tools=[WEATHER, CLOCK], tool_choice="required", stream=True
    )
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    whole = events[-1]
    assert whole.type == "response.completed"
    assert [item.name for item in whole.response.output if item.type == "function_call"] == ["weather", "clock"]
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    for number, one in enumerate(done):
        deltas = [event for event in events if event.type == "response.function_call_arguments.delta"]
        assert "".join(event.delta for event in deltas if event.output_index == one.output_index) == one.arguments
        assert one.item_id == whole.response.output[number].id
    read = [event async for event in await client.responses.retrieve(whole.response.id, stream=True)]
    assert [event.model_dump() for event in read] == [event.model_dump() for event in events]

    results: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "fine"} for call in calls]
    told = await client.responses.create(
        model=MODEL, input=results, previous_response_id=made.id, tools=[WEATHER], tool_choice="none"
    )
    assert told.output_text
    items = [item async for item in client.responses.input_items.list(told.id, order="asc")]
    assert [item.type for item in items] == ["function_call_output"] * 2
    own: Any = ["weather clock", *made.output, *results]
    own[0] = {"role": "user", "content": own[0]}
    again = await client.responses.create(model=MODEL, input=own)
    assert again.output_text


async def test_an_answer_keeps_to_a_schema(client: openai.AsyncOpenAI) -> None:
    made = await client.responses.parse(model=MODEL, input="Where?", text_format=Place)
    assert isinstance(made.output_parsed, Place)
    kept = await client.responses.retrieve(made.id)
    assert kept.text is not None
    assert kept.text.format is not None
    assert kept.text.format.type == "json_schema"


async def test_a_result_of_a_call_that_nobody_made_is_refused(client: openai.AsyncOpenAI) -> None:
    lost: Any = [{"type": "function_call_output", "call_id": "call_1", "output": "fine"}]
    with pytest.raises(openai.BadRequestError, match="no call of this id"):
        await client.responses.create(model=MODEL, input=lost)
