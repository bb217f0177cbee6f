"""Batches by OpenAI's own client: answered line by line, whatever dies, and refused whole where a line is wrong."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from gateway.batches.log import BatchLog
from gateway.batches.outputs import PARTS_OF_LINE, Outputs
from gateway.batches.progress import FRESH_S, Progress
from mesh.access.writer import AccessWriter
from mesh.bus.answer import follow
from mesh.files.store import FileStore
from nodes.engine import EngineSpec
from streams.batches.events import BatchCreated, BatchEnded
from streams.clock import now_ms
from streams.codec import decode
from streams.events import TaskSubmitted
from streams.subjects import TaskKey, submitted
from streams.tasks.task_id import sibling_task_id
from streams.tokens import Token
from tests.http_gateway import LIMIT_S, MODEL, HttpGateway, serve_http, until
from tests.mesh_in_process import InProcessMesh

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
LOCAL = Token("local")
ACME = Token("acme")
OVER = {"completed", "failed", "expired", "cancelled"}


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        await running.add_dispatcher()
        yield running


@pytest.fixture
async def gateway(mesh: InProcessMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus) as serving:
        yield serving


@pytest.fixture
async def client(gateway: HttpGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as connected:
        yield connected


def line(name: str, **fields: Any) -> dict[str, Any]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": name}], "max_tokens": 3}
    return {"custom_id": name, "method": "POST", "url": CHAT, "body": body, **fields}


async def begin(client: openai.AsyncOpenAI, *lines: Any, endpoint: Any = CHAT, **metadata: str) -> Batch:
    """Upload lines, as JSON or as they are, and have them answered."""
    texts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines]
    file = await client.files.create(file=("in.jsonl", b"\n".join(texts)), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata=metadata or None
    )


async def ended(client: openai.AsyncOpenAI, batch: Batch) -> Batch:
    async with asyncio.timeout(LIMIT_S):
        while batch.status not in OVER:
            await asyncio.sleep(0.05)
            batch = await client.batches.retrieve(batch.id)
    return batch


async def lines_of(client: openai.AsyncOpenAI, file: str | None) -> list[dict[str, Any]]:
    return [] if file is None else [json.loads(each) for each in (await client.files.content(file)).text.splitlines()]


def text_in(each: dict[str, Any]) -> str:
    return each["response"]["body"]["choices"][0]["message"]["content"]


async def test_every_request_has_its_line_in_the_order_of_the_input(
    mesh: InProcessMesh, client: openai.AsyncOpenAI
) -> None:
    await mesh.add_node()
    batch = await begin(client, *(line(f"q{number}") for number in range(40)), run="7")
    assert (batch.status in {"validating", "in_progress"}, batch.metadata) == (True, {"run": "7"})
    batch = await ended(client, batch)
    counts = batch.request_counts
    assert counts is not None
    assert (batch.status, counts.total, counts.completed, counts.failed) == ("completed", 40, 40, 0)
    assert batch.error_file_id is None
    answers = await lines_of(client, batch.output_file_id)
    assert [each["custom_id"] for each in answers] == [f"q{number}" for number in range(40)]
    assert {each["response"]["status_code"] for each in answers} == {200}
    assert all(text_in(each) for each in answers)
    assert [each.id async for each in client.batches.list()] == [batch.id]


async def test_a_request_that_fails_has_its_line_among_the_errors(
    mesh: InProcessMesh, client: openai.AsyncOpenAI
) -> None:
    await mesh.add_node()
    long = line("long", body={"model": MODEL, "messages": [{"role": "user", "content": "word " * 100_000}]})
    unknown = line("unknown", body={"model": "nobody-has-it", "messages": [{"role": "user", "content": "hello"}]})
    batch = await ended(client, await begin(client, line("good"), long, unknown))
    assert batch.status == "completed"
    assert [each["custom_id"] for each in await lines_of(client, batch.output_file_id)] == ["good"]
    errors = {each["custom_id"]: each["response"] for each in await lines_of(client, batch.error_file_id)}
    assert (errors["long"]["status_code"], errors["long"]["body"]["error"]["code"]) == (400, "context_length_exceeded")
    assert errors["unknown"]["status_code"] == 404


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (b"{not json", "invalid_json_line"),
        (b'{"custom_id": "a"}', "invalid_json_line"),
        ({**line("b"), "method": "GET"}, "invalid_json_line"),
        (line("first"), "duplicate_custom_id"),
        (line("b", url="/v1/embeddings"), "mismatched_url"),
        (line("b", body={"model": MODEL}), "missing_required_parameter"),
        (line("b", body={**line("b")["body"], "stream": True}), "unsupported_value"),
        (line("b", body={**line("b")["body"], "n": 2}), "unsupported_value"),
    ],
    ids=["no-json", "fields", "method", "twice", "url", "request", "stream", "n"],
)
async def test_one_bad_line_refuses_the_batch_and_says_which(client: openai.AsyncOpenAI, wrong: Any, code: str) -> None:
    batch = await ended(client, await begin(client, line("first"), b"", wrong, line("last")))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert [(fault.line, fault.code) for fault in batch.errors.data or ()] == [(3, code)]
    assert (batch.output_file_id, batch.error_file_id) == (None, None)


async def test_an_empty_input_is_refused(client: openai.AsyncOpenAI) -> None:
    batch = await ended(client, await begin(client, b"\n \n"))
    assert batch.errors is not None
    assert [fault.code for fault in batch.errors.data or ()] == ["empty_file"]


async def test_what_cannot_be_a_batch_is_refused_at_once(client: openai.AsyncOpenAI) -> None:
    for other in ("file-none", "x"):
        with pytest.raises(openai.NotFoundError):
            await client.batches.create(input_file_id=other, endpoint=CHAT, completion_window="24h")
    file = await client.files.create(file=("a", b"x"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose=batch"):
        await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    wrong: Any = "/v1/none"
    with pytest.raises(openai.BadRequestError, match="endpoint"):
        await client.batches.create(input_file_id=file.id, endpoint=wrong, completion_window="24h")
    with pytest.raises(openai.NotFoundError):
        await client.batches.retrieve("batch_none")


@asynccontextmanager
async def asking(mesh: InProcessMesh) -> AsyncIterator[openai.AsyncOpenAI]:
    """A gateway of its own, and a client of it."""
    async with (
        serve_http(mesh.bus, http_stop_timeout=timedelta(0)) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


async def answered(mesh: InProcessMesh, batch: Batch) -> int:
    """How many lines are there now; what the API says may be a moment old."""
    outputs = Outputs(FileStore(mesh.bus.core), LOCAL, Token(batch.id))
    await outputs.look()
    return outputs.counts.completed


async def test_a_gateway_that_stops_hands_its_batch_to_another_and_nothing_is_asked_twice(
    mesh: InProcessMesh,
) -> None:
    await mesh.add_node(delay_ms=5, slots=2)
    # The last one waits for a node that comes later: however slow this test is, the batch is not done before.
    lines = [line(f"q{number}") for number in range(30)]
    lines[-1]["body"]["model"] = "promised"
    async with asking(mesh) as client:
        batch = await begin(client, *lines)

        async def some_are_answered() -> bool:
            return await answered(mesh, batch) > 0

        await until(some_are_answered)
    async with asking(mesh) as client:
        await mesh.add_node("late", spec=EngineSpec(engine="synthetic", model_id="promised"))
        batch = await ended(client, batch)
        answers = await lines_of(client, batch.output_file_id)
    assert (batch.status, [each["custom_id"] for each in answers]) == ("completed", [f"q{n}" for n in range(30)])
    facts = json.loads((await mesh.bus.edge.request("$JS.API.STREAM.INFO.TASKS", b"")).data)
    assert facts["state"]["messages"] == 30


async def test_a_batch_that_is_cancelled_keeps_what_was_answered(
    mesh: InProcessMesh, client: openai.AsyncOpenAI
) -> None:
    await mesh.add_node(slots=1)
    quick, endless = line("quick"), line("endless", body={**line("endless")["body"], "model": "promised"})
    batch = await begin(client, quick, endless)

    async def quick_is_answered() -> bool:
        return await answered(mesh, batch) == 1

    await until(quick_is_answered)
    assert (await client.batches.cancel(batch.id)).status in {"cancelling", "cancelled"}
    batch = await ended(client, batch)
    assert batch.status == "cancelled"
    assert [each["custom_id"] for each in await lines_of(client, batch.output_file_id)] == ["quick"]
    assert [each["custom_id"] for each in await lines_of(client, batch.error_file_id)] == ["endless"]
    task = sibling_task_id(Token(batch.id.removeprefix("batch_")), 2)
    steps = [step async for steps in follow(mesh.bus.source, TaskKey(LOCAL, task)) for step in steps]
    assert steps[-1].state.outcome == "cancelled"
    with pytest.raises(openai.NotFoundError):
        await client.batches.cancel("batch_none")


async def test_a_batch_whose_key_was_revoked_is_not_run(mesh: InProcessMesh, client: openai.AsyncOpenAI) -> None:
    file = await client.files.create(file=("in", json.dumps(line("a")).encode()), purpose="batch")
    at_ms = now_ms()
    asked = BatchCreated(at_ms=at_ms, input_file=file.id, endpoint=CHAT, expires_at_ms=at_ms + 60_000, key_id="gone")
    name = await BatchLog(mesh.bus.core).create(LOCAL, asked)
    batch = await ended(client, await client.batches.retrieve(name))
    assert batch.errors is not None
    assert (batch.status, [fault.code for fault in batch.errors.data or ()]) == ("failed", ["access_revoked"])


async def test_a_batch_is_run_with_a_key_of_which_its_runner_has_not_heard_yet(mesh: InProcessMesh) -> None:
    await mesh.add_node()
    writer, store, log = AccessWriter(mesh.bus.core), FileStore(mesh.bus.core), BatchLog(mesh.bus.core)
    async with serve_http(mesh.bus) as gateway:
        # From now on it hears of no change by itself.
        await gateway.access._tail.stop()
        await writer.open(ACME)
        key = (await writer.issue(ACME, name="k", rights=("chat", "read"))).shown.key_id

        async def data() -> AsyncIterator[bytes]:
            yield json.dumps(line("a")).encode()

        file, at_ms = await store.put(ACME, "in", "batch", data(), limit_bytes=1000), now_ms()
        asked = BatchCreated(at_ms=at_ms, input_file=file.id, endpoint=CHAT, expires_at_ms=at_ms + 600_000, key_id=key)
        name = await log.create(ACME, asked)

        async def is_over() -> bool:
            standing = await log.find(ACME, name)
            return standing is not None and standing.batch.is_over

        await until(is_over)
        standing = await log.find(ACME, name)
    assert standing is not None
    end = standing.batch.end
    assert isinstance(end, BatchEnded), end
    assert (end.outcome, end.completed) == ("completed", 1)


async def test_a_batch_whose_time_is_over_says_so_of_each_request(
    mesh: InProcessMesh, client: openai.AsyncOpenAI
) -> None:
    lines = b"\n".join(
        json.dumps(line(name, body={**line(name)["body"], "model": "promised"})).encode() for name in "ab"
    )
    file = await client.files.create(file=("in", lines), purpose="batch")
    at_ms = now_ms()
    asked = BatchCreated(at_ms=at_ms, input_file=file.id, endpoint=CHAT, expires_at_ms=at_ms + 500)
    name = await BatchLog(mesh.bus.core).create(LOCAL, asked)
    batch = await ended(client, await client.batches.retrieve(name))
    assert batch.status == "expired"
    assert [each["custom_id"] for each in await lines_of(client, batch.error_file_id)] == ["a", "b"]


async def test_a_batch_of_responses_can_be_read_and_gone_on_with(
    mesh: InProcessMesh, client: openai.AsyncOpenAI
) -> None:
    await mesh.add_node()
    body = {"model": MODEL, "input": "hello", "max_output_tokens": 3}
    lines = [{**line(name, url=RESPONSES), "body": body} for name in ("a", "b")]
    batch = await ended(client, await begin(client, *lines, endpoint=RESPONSES))
    answers = [each["response"]["body"] for each in await lines_of(client, batch.output_file_id)]
    assert [answer["object"] for answer in answers] == ["response"] * 2
    kept = await client.responses.retrieve(answers[0]["id"])
    assert kept.output_text == answers[0]["output"][0]["content"][0]["text"]
    after = {**body, "previous_response_id": kept.id}
    batch = await ended(client, await begin(client, {**lines[0], "body": after}, endpoint=RESPONSES))
    (answer,) = await lines_of(client, batch.output_file_id)
    assert answer["response"]["body"]["previous_response_id"] == kept.id


async def test_a_batch_takes_no_response_in_the_background(client: openai.AsyncOpenAI) -> None:
    body = {"model": MODEL, "input": "hello", "background": True}
    batch = await ended(client, await begin(client, {**line("a", url=RESPONSES), "body": body}, endpoint=RESPONSES))
    assert batch.errors is not None
    assert [(fault.code, fault.param) for fault in batch.errors.data or ()] == [("unsupported_value", "background")]


async def test_an_account_with_more_than_a_thousand_batches_is_shown_the_newest(mesh: InProcessMesh) -> None:
    log, asked = BatchLog(mesh.bus.core), BatchCreated(at_ms=1, input_file="file-1", endpoint=CHAT, expires_at_ms=2)
    names = [await log.create(LOCAL, asked)]
    for _ in range(11):
        names += await asyncio.gather(*(log.create(LOCAL, asked) for _ in range(100)))
    await log.create(Token("other"), asked)
    assert await log.list_all(LOCAL) == tuple(sorted(names, reverse=True))


async def test_how_far_a_batch_is_is_counted_once_in_a_while(mesh: InProcessMesh) -> None:
    store, name, now_s = FileStore(mesh.bus.core), Token("batch_x"), [0.0]
    progress = Progress(store, clock=lambda: now_s[0])
    output = Outputs(store, LOCAL, name).file("output")
    await store.put_part(LOCAL, output, PARTS_OF_LINE, b"1")
    assert await progress.of(LOCAL, name) == (1, 0)
    await store.put_part(LOCAL, output, 2 * PARTS_OF_LINE, b"2")
    assert await progress.of(LOCAL, name) == (1, 0)
    now_s[0] += FRESH_S
    assert await progress.of(LOCAL, name) == (2, 0)


async def test_requests_of_a_batch_are_of_the_class_batch(mesh: InProcessMesh, client: openai.AsyncOpenAI) -> None:
    await mesh.add_node()
    batch = await ended(client, await begin(client, line("a")))
    task = sibling_task_id(Token(batch.id.removeprefix("batch_")), 1)
    query = {"last_by_subj": submitted("batch", TaskKey(LOCAL, task))}
    stored = await mesh.bus.edge.request("$JS.API.DIRECT.GET.TASKS", json.dumps(query).encode())
    assert decode(stored.data, TaskSubmitted).model == MODEL
