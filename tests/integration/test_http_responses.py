"""The Responses API by OpenAI's own client: created, streamed, read again at another gateway, continued, deleted."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import openai
import pytest
import pytest_asyncio
from openai.types.responses import Response, ResponseStreamEvent

from streams.events import TaskError
from streams.tasks.task_id import new_task_id
from tests.http_gateway import LIMIT_S, MODEL, HttpGateway, serve_http, until
from tests.scripted_mesh import VOID, WORDS, ScriptedMesh, scripted_mesh

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]

TEXT = "".join(WORDS)
LAST = len(WORDS) + 7
"""The number of ``response.completed``: two before the item, two for its beginning, three for its end."""


class Place(NamedTuple):
    """A mesh, and two gateways with a client each."""

    mesh: ScriptedMesh
    one: openai.AsyncOpenAI
    other: openai.AsyncOpenAI
    gateway: HttpGateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with scripted_mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        bus = await mesh.connect("other")
        await mesh.bus.follow()
        await bus.follow()
        async with serve_http(mesh.bus) as one, serve_http(bus) as other, client(one) as first, client(other) as second:
            yield Place(mesh, first, second, one)
        await bus.close()


@pytest_asyncio.fixture(loop_scope="module")
async def place(running: Place) -> Place:
    await running.mesh.begin_anew()
    return running


def client(gateway: HttpGateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)


async def read_on(
    stream: openai.AsyncStream[ResponseStreamEvent], until_number: int | None = None
) -> list[ResponseStreamEvent]:
    """Read to the end, or up to an event."""
    seen: list[ResponseStreamEvent] = []
    async with asyncio.timeout(LIMIT_S):
        async for event in stream:
            seen.append(event)
            if event.sequence_number == until_number:
                break
    return seen


async def ended_at(client: openai.AsyncOpenAI, name: str) -> Response:
    """A response as a gateway shows it that has heard of its end, which another one may have heard of before."""

    async def has_ended() -> bool:
        return (await client.responses.retrieve(name)).status not in ("queued", "in_progress")

    await until(has_ended)
    return await client.responses.retrieve(name)


def texts(events: list[ResponseStreamEvent]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


async def test_a_response_is_whole_and_the_same_when_it_is_read_again(place: Place) -> None:
    made = await place.one.responses.create(
        model=MODEL, input="hello", instructions="Be brief.", metadata={"topic": "sea"}, max_output_tokens=500
    )
    assert (made.status, made.output_text, made.instructions) == ("completed", TEXT, "Be brief.")
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens) == (3, len(WORDS))
    assert made.metadata == {"topic": "sea"}
    assert [(said.role, said.content) for said in place.mesh.submitted[0].messages] == [
        ("system", "Be brief."),
        ("user", "hello"),
    ]
    again = await ended_at(place.other, made.id)
    assert again.model_dump() == made.model_dump()


async def test_a_stream_goes_on_at_another_gateway_without_a_gap_or_a_repeat(place: Place) -> None:
    place.mesh.pause_after = 20
    stream = await place.one.responses.create(model=MODEL, input="hello", stream=True)
    head = await read_on(stream, until_number=12)
    await stream.close()
    assert head[0].type == "response.created"
    name = head[0].response.id
    reading = asyncio.create_task(
        read_on(await place.other.responses.retrieve(name, stream=True, starting_after=head[-1].sequence_number))
    )
    await place.mesh.paused.wait()
    place.mesh.go.set()
    tail = await reading
    assert [event.sequence_number for event in head + tail] == list(range(LAST + 1))
    assert texts(head + tail) == TEXT
    whole = await read_on(await place.one.responses.retrieve(name, stream=True))
    assert [event.model_dump() for event in head + tail] == [event.model_dump() for event in whole]
    assert await read_on(await place.one.responses.retrieve(name, stream=True, starting_after=LAST)) == []
    with pytest.raises(openai.BadRequestError, match="lies ahead"):
        await place.one.responses.retrieve(name, stream=True, starting_after=LAST + 1)
    assert len(place.mesh.submitted) == 1


async def test_the_clients_stream_helper_puts_a_response_together(place: Place) -> None:
    async with place.one.responses.stream(model=MODEL, input="hello") as stream:
        whole = await stream.get_final_response()
    assert (whole.status, whole.output_text) == ("completed", TEXT)


async def test_one_in_the_background_returns_at_once_and_is_read_later(place: Place) -> None:
    place.mesh.pause_after = 5
    made = await place.one.responses.create(model=MODEL, input="hello", background=True)
    assert (made.status, made.background, made.output) == ("queued", True, [])
    await place.mesh.paused.wait()

    async def is_running() -> bool:
        now = await place.other.responses.retrieve(made.id)
        return now.status == "in_progress" and now.output_text == "".join(WORDS[:5])

    await until(is_running)
    place.mesh.go.set()

    async def is_whole() -> bool:
        return (await place.other.responses.retrieve(made.id)).status == "completed"

    await until(is_whole)
    assert (await place.other.responses.retrieve(made.id)).output_text == TEXT


async def test_one_in_the_background_is_cancelled_and_keeps_what_was_written(place: Place) -> None:
    place.mesh.pause_after = 5
    made = await place.one.responses.create(model=MODEL, input="hello", background=True)
    await place.mesh.paused.wait()
    await place.other.responses.cancel(made.id)

    async def is_cancelled() -> bool:
        return (await place.one.responses.retrieve(made.id)).status == "cancelled"

    await until(is_cancelled)
    now = await place.one.responses.retrieve(made.id)
    assert now.error is not None
    assert now.output_text == "".join(WORDS[:5])
    last = (await read_on(await place.one.responses.retrieve(made.id, stream=True)))[-1]
    assert last.type == "response.failed"
    assert last.response.status == "cancelled"


async def test_a_conversation_goes_on_from_the_log_with_new_instructions(place: Place) -> None:
    first = await place.one.responses.create(model=MODEL, input="one", instructions="Be brief.")
    second = await place.other.responses.create(
        model=MODEL, input=[{"role": "user", "content": "two"}], previous_response_id=first.id
    )
    third = await place.one.responses.create(
        model=MODEL, input="three", instructions="Rhyme.", previous_response_id=second.id
    )
    assert [(said.role, said.content) for said in place.mesh.submitted[-1].messages] == [
        ("system", "Rhyme."),
        *(("user", "one"), ("assistant", TEXT), ("user", "two"), ("assistant", TEXT)),
        ("user", "three"),
    ]
    assert third.previous_response_id == second.id
    items = [item async for item in place.other.responses.input_items.list(third.id, order="asc")]
    assert [(item.type, item.content[0].text) for item in items] == [("message", "three")]  # pyright: ignore


async def test_nothing_is_asked_behind_what_has_no_whole_answer(place: Place) -> None:
    place.mesh.pause_after = 5
    running = await place.one.responses.create(model=MODEL, input="one", background=True)
    for previous, code in (
        (running.id, "previous_response_not_complete"),
        (f"resp_{new_task_id()}", "previous_response_not_found"),
        ("resp_nonsense", "previous_response_not_found"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            await place.one.responses.create(model=MODEL, input="two", previous_response_id=previous)
        assert refused.value.code == code
    place.mesh.go.set()


async def test_what_is_deleted_or_not_stored_is_shown_no_more(place: Place) -> None:
    kept = await place.one.responses.create(model=MODEL, input="hello")
    await place.one.responses.delete(kept.id)
    not_stored = await place.one.responses.create(model=MODEL, input="hello", store=False)
    chat = await place.gateway.ask()
    for name in (kept.id, not_stored.id, f"resp_{chat.headers['x-ig3-task']}", f"resp_{new_task_id()}"):
        with pytest.raises(openai.NotFoundError) as missing:
            await place.other.responses.retrieve(name)
        assert missing.value.code == "response_not_found"
        with pytest.raises(openai.BadRequestError, match="not found"):
            await place.other.responses.create(model=MODEL, input="and?", previous_response_id=name)
    with pytest.raises(openai.NotFoundError):
        await place.one.responses.delete(kept.id)


async def test_an_answer_that_begins_again_ends_the_stream_and_its_number_is_where_to_go_on(place: Place) -> None:
    place.mesh.restart_after = 3
    stream = await place.one.responses.create(model=MODEL, input="hello", stream=True)
    head = await read_on(stream, until_number=6)
    assert texts(head) == VOID * 3
    place.mesh.restart.set()
    head += await read_on(stream)
    assert head[-1].type == "error"
    assert head[-1].code == "answer_restarted"
    assert head[0].type == "response.created"
    name, number = head[0].response.id, head[-1].sequence_number
    rest = await read_on(await place.other.responses.retrieve(name, stream=True, starting_after=number))
    assert [event.sequence_number for event in rest] == list(range(number + 1, number + len(rest) + 1))
    assert texts(rest) == TEXT
    late = await read_on(await place.other.responses.retrieve(name, stream=True, starting_after=5))
    assert [event.model_dump() for event in late] == [head[-1].model_dump()], "what is void is not told late"


async def test_a_failure_is_an_error_at_once_and_a_failed_response_afterwards(place: Place) -> None:
    place.mesh.error = TaskError(code="node_lost", message="The node is gone.", status=502)
    task = new_task_id()
    with pytest.raises(openai.InternalServerError, match="The node is gone"):
        await place.one.responses.create(model=MODEL, input="hello", extra_headers={"x-ig3-task": task})
    kept = await ended_at(place.other, f"resp_{task}")
    assert kept.status == "failed"
    assert kept.error is not None
    assert kept.error.code == "node_lost"
    last = (await read_on(await place.other.responses.retrieve(kept.id, stream=True)))[-1]
    assert last.type == "response.failed"


async def test_a_stored_response_never_comes_from_the_cache_since_it_is_read_again_by_its_id(place: Place) -> None:
    made = [
        await place.one.responses.create(
            model=MODEL, input="hello", temperature=0, metadata={"number": number}, extra_headers={"x-ig3-cache": "use"}
        )
        for number in ("one", "two")
    ]
    assert [(await place.other.responses.retrieve(one.id)).metadata for one in made] == [
        {"number": "one"},
        {"number": "two"},
    ]
    assert len(place.mesh.submitted) == 2


async def test_what_cannot_be_done_is_refused_by_name(place: Place) -> None:
    for body, code, param in (
        ({}, "missing_required_parameter", "input"),
        ({"input": []}, "invalid_value", "input"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "invalid_value", "input[0].role"),
        ({"input": [{"content": "x"}]}, "missing_required_parameter", "input[0].role"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "unsupported_value", "input[0].type"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "missing_required_parameter", "input[0].call_id"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, "unsupported_value", "tools[0].type"),
        ({"input": "x", "tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"input": "x", "text": {"format": {"type": "json_schema", "name": "x"}}}, "missing_required_parameter", None),
        ({"input": "x", "truncation": "auto"}, "unsupported_value", "truncation"),
        ({"input": "x", "conversation": "conv_1"}, "unsupported_parameter", "conversation"),
        ({"input": "x", "background": True, "store": False}, "invalid_value", "store"),
        ({"input": "x", "metadata": {"a": "b" * 513}}, "invalid_value", "metadata"),
    ):
        answer = await place.gateway.post("/v1/responses", {"model": MODEL, **body})
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (400, code), body
        assert param in (None, error["param"]), body
