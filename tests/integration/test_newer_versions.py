"""A store that a newer version has written to: each who reads it has an answer, and nobody writes over it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mesh.bus.answer import follow
from mesh.bus.provision import Action, check, provision
from mesh.bus.store_version import METADATA_KEY, STORE_VERSION
from mesh.client.client import open_client
from mesh.client.options import ClientOptions
from mesh.errors import StoreTooNew, WrittenByNewer
from mesh.history.roster_log import RosterModels
from mesh.history.stream_facts import stream_names
from mesh.inspection.task_records import look_up, standing
from streams import subjects
from streams.codec import decode, decode_model_event, decode_task_event, encode
from streams.consumers import consumer_specs
from streams.devices.replica import Replica
from streams.devices.roster import Roster
from streams.errors import NewerEvent
from streams.events import ModelAnnounced, TaskAssigned, TaskChunk, TaskEnded, TaskQueued, TaskRequeued
from streams.messages import Cancel, EventsRequest, Refusal
from streams.subjects import MESH, TaskKey
from streams.tokens import token
from streams.topology import Account, stream_specs
from tests.bridge_server import serve_bridge
from tests.http_gateway import serve_http
from tests.mesh_in_process import LIMIT_S, InProcessMesh
from tests.packed import packed

NODE = token("n1")
LOCAL = token("local")


def newer(tag: str, **fields: object) -> bytes:
    return packed({"type": tag, "at_ms": 1, "what_is_new": True, **fields})


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        yield running


async def put(mesh: InProcessMesh, key: TaskKey, body: bytes, writer: str = MESH) -> None:
    await mesh.bus.edge.append(subjects.result(key, token(writer)), body)


async def assigned(mesh: InProcessMesh) -> TaskKey:
    key = mesh.key()
    await put(mesh, key, encode(TaskAssigned(n=1, at_ms=1, attempt=1, node=NODE, policy="p")))
    await put(mesh, key, encode(TaskChunk(n=2, attempt=1, offset=0, text="one ")), NODE)
    return key


async def read(mesh: InProcessMesh, key: TaskKey) -> str:
    """All that a reader sees, and how it ends."""
    text = ""
    try:
        async with asyncio.timeout(LIMIT_S):
            async for steps in follow(mesh.bus.source, key):
                text += "".join(step.event.text for step in steps if isinstance(step.event, TaskChunk))
    except WrittenByNewer as error:
        return f"{text}| {error}"
    return text


@pytest.mark.parametrize(
    "body",
    [newer("task.paused.v1", n=3), newer("task.ended.v2", n=3, outcome="x"), newer("task.ended.v1", n=3, outcome="x")],
)
async def test_a_reader_gets_what_comes_before_and_then_a_clear_error(mesh: InProcessMesh, body: bytes):
    key = await assigned(mesh)
    early = asyncio.create_task(read(mesh, key))
    await put(mesh, key, body)

    for seen in (await early, await read(mesh, key)):
        assert seen.startswith(f"one | task {key.task}, counter 3: task.")
        assert "upgrade this process" in seen


async def test_a_chunk_of_a_newer_node_that_the_services_counted_is_a_clear_error(mesh: InProcessMesh):
    key = await assigned(mesh)
    early = asyncio.create_task(read(mesh, key))
    await put(mesh, key, newer("task.chunk.v9", n=3, attempt=1, offset=4, text="two"), NODE)
    await put(mesh, key, encode(TaskQueued(n=4, at_ms=1, position=0, reason="moved")))

    for seen in (await early, await read(mesh, key)):
        assert seen.startswith(f"one | task {key.task}, counter 3: task.chunk.v9")


async def test_a_chunk_of_a_newer_node_that_the_services_passed_over_is_passed_over(mesh: InProcessMesh):
    key = await assigned(mesh)
    early = asyncio.create_task(read(mesh, key))
    await put(mesh, key, newer("task.chunk.v9", n=3, attempt=1, offset=4, text="two"), NODE)
    requeued = TaskRequeued(n=3, at_ms=1, attempt=1, node=NODE, code="x", message="y", retry_at_ms=0)
    await put(mesh, key, encode(requeued))
    await put(mesh, key, encode(TaskAssigned(n=4, at_ms=1, attempt=2, node=NODE, policy="p", offset=4)))
    last = {"n": 5, "attempt": 2, "offset": 4, "text": "three", "finish_reason": "stop"}
    await put(mesh, key, newer("task.chunk.v1", **last, usage={"prompt_tokens": 1, "completion_tokens": 1}), NODE)
    await put(mesh, key, packed({"type": "task.ended.v1", "n": 6, "at_ms": 1, "outcome": "completed"}))

    assert await early == await read(mesh, key) == "one three"


@pytest.mark.parametrize("writer", ["n2", "n1"])
async def test_nobody_but_the_services_can_feign_a_newer_version(mesh: InProcessMesh, writer: str):
    key = await assigned(mesh)
    early = asyncio.create_task(read(mesh, key))
    for n in (3, 4, 2**40):
        await put(mesh, key, newer("task.ended.v9", n=n), writer)
    await put(mesh, key, encode(TaskChunk(n=3, attempt=1, offset=4, text="two")), NODE)
    await put(mesh, key, packed({"type": "task.ended.v1", "n": 4, "at_ms": 1, "outcome": "completed"}))

    assert await early == await read(mesh, key) == "one two"


async def test_whoever_asks_for_events_is_told(mesh: InProcessMesh):
    key = await assigned(mesh)
    await put(mesh, key, newer("task.paused.v1", n=3))
    user = await mesh.connect_user()
    reply = await user.request(subjects.user_api(LOCAL, "events"), encode(EventsRequest(task=key.task)))

    refusal = decode(reply.data, Refusal)
    assert (refusal.code, refusal.status) == ("newer_version", 501)
    assert "task.paused.v1" in refusal.message


async def test_gateways_and_clients_say_so_and_do_not_ask_again(mesh: InProcessMesh):
    key = await assigned(mesh)
    await mesh.submit(key, model="m")
    await put(mesh, key, newer("task.paused.v1", n=3))
    async with serve_http(mesh.bus) as gateway, serve_bridge(mesh.bus) as bridge:
        late = await (await gateway.get(f"/v1/tasks/{key.task}/events?after=2")).text()
        summary = await gateway.get(f"/v1/tasks/{key.task}")
        streamed = await (await gateway.get(f"/v1/tasks/{key.task}/events")).text()
        async with bridge.connect() as socket:
            await socket.send(type="subscribe", id=1, topic="task", task=key.task)
            frame = await socket.until_type("error")
    assert summary.status == 200
    assert "id: 2" in streamed
    for text in (streamed, late):
        assert 'event: error\ndata: {"error":' in text
        assert "task.paused.v1" in text
    assert (frame["code"], frame.get("still_subscribed", False)) == ("newer_version", False)

    options = ClientOptions(servers=(mesh.server.url,), account=LOCAL, seed_file=mesh.server.credentials.user.seed_path)
    async with await open_client(options) as client:
        with pytest.raises(WrittenByNewer, match=r"task\.paused\.v1"):
            _ = [piece async for piece in await client.resume(key.task)]


async def test_a_dispatcher_leaves_a_task_alone_that_a_newer_one_went_on_with(
    mesh: InProcessMesh, caplog: pytest.LogCaptureFixture
):
    key = mesh.key()
    await put(mesh, key, newer("task.paused.v1", n=1))
    await mesh.add_dispatcher()
    await mesh.submit(key, model="promised")
    await logged(caplog, "task.paused.v1 cannot be read by this version")
    other = await mesh.submit(model="nobody-has-this")
    await mesh.steps(other)

    stored = await mesh.bus.log.read_bytes(key)
    assert [one.data for one in stored] == [newer("task.paused.v1", n=1)]
    # Once: it is offered again after a pause, not at once and for ever.
    assert sum("waits for a dispatcher" in record.message for record in caplog.records) == 1


async def test_an_end_of_a_newer_version_is_an_end(mesh: InProcessMesh, caplog: pytest.LogCaptureFixture):
    key = mesh.key()
    await mesh.bus.core.append(subjects.ended(key), newer("task.completed.v9", model="m", final_n=1))
    await mesh.add_dispatcher()
    await mesh.submit(key, model="nobody-has-this")
    await logged(caplog, "task.completed.v9 cannot be read by this version")

    user = await mesh.connect_user()
    reply = await user.request(subjects.user_api(LOCAL, "cancel"), encode(Cancel(task=key.task)))
    assert decode(reply.data, Refusal).code == "newer_version"
    assert (await standing(mesh.bus, await look_up(mesh.bus, key.task))).is_over
    assert not any(isinstance(one.event, TaskEnded) for one in await mesh.bus.log.read(key))


async def test_a_submission_of_a_newer_version_fails_with_a_reason(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    key = mesh.key()
    await mesh.bus.edge.append(subjects.submitted("standard", key), newer("task.submitted.v9", model="m"))
    error = (await mesh.steps(key))[-1].state.error

    assert error is not None
    assert (error.code, error.status) == ("invalid_request_error", 400)
    assert "task.submitted.v9" in error.message


async def test_a_roster_leaves_out_what_it_cannot_read_and_says_so(
    mesh: InProcessMesh, caplog: pytest.LogCaptureFixture
):
    replica = Replica(model="m", engine="synthetic", context_tokens=8, slots=1)
    good = encode(ModelAnnounced(at_ms=1, node=NODE, replica=replica))
    for body in (good, newer("model.announced.v9", node=NODE), good):
        await mesh.bus.core.append(subjects.model(NODE, "m"), body)
    running = await mesh.add_dispatcher()

    assert running.feed.roster.knows("m")
    assert running.feed.models.position == 3
    assert "event 2 of MODELS (models.n1.m) is left out: model.announced.v9 cannot be read" in caplog.text
    assert RosterModels(Roster()).version == Roster.VERSION


async def test_a_store_of_a_newer_version_is_refused_at_start_and_left_as_it_is(mesh: InProcessMesh):
    links, specs = mesh.bus.links, stream_specs()
    assert {finding.action for finding in await provision(links, specs, consumer_specs())} == {Action.SAME}
    newest = await config_of(mesh, "BILLING")
    newest["metadata"] = {**newest["metadata"], METADATA_KEY: str(STORE_VERSION + 1)}
    await call(mesh, "UPDATE.BILLING", newest)
    await call(mesh, "DELETE.UNREADABLE", {})

    for attempt in (provision(links, specs, consumer_specs()), check(links, specs, consumer_specs())):
        with pytest.raises(StoreTooNew, match=r"written by a newer version .stream BILLING is in format 2"):
            await attempt
    # Neither was what is missing made, nor what differs changed.
    assert (await config_of(mesh, "BILLING"))["metadata"][METADATA_KEY] == str(STORE_VERSION + 1)
    assert "UNREADABLE" not in await stream_names(mesh.bus.core)


async def test_a_service_does_not_start_on_a_store_of_a_newer_version(mesh: InProcessMesh):
    tasks = await config_of(mesh, "TASKS", "EDGE")
    tasks["metadata"] = {**tasks["metadata"], METADATA_KEY: "2"}
    await call(mesh, "UPDATE.TASKS", tasks, "EDGE")
    with pytest.raises(StoreTooNew, match=r"use another data folder\. Nothing was changed"):
        await mesh.new_bus("late")


async def call(mesh: InProcessMesh, verb: str, body: dict[str, Any], account: Account = "CORE") -> dict[str, Any]:
    data = json.dumps(body).encode() if body else b""
    answer = json.loads((await mesh.bus.links[account].request(f"$JS.API.STREAM.{verb}", data)).data)
    assert "error" not in answer, answer
    return answer


async def config_of(mesh: InProcessMesh, stream: str, account: Account = "CORE") -> dict[str, Any]:
    return (await call(mesh, f"INFO.{stream}", {}, account))["config"]


@pytest.mark.parametrize(
    ("body", "is_newer"),
    [
        (newer("task.chunk.v9", n=3), True),
        (newer("task.chunk.v1", n=3, finish_reason="tool_calls"), True),
        (newer("a.b_c.d.v12"), True),
        (newer("model.announced.v1"), False),
        (newer("refusal.v1"), False),
        (newer("no tag"), False),
        (packed({"type": 7}), False),
        (packed({"n": 3}), False),
        (packed([1]), False),
        (b'{"stream":"TASKS","seq":1}', False),
        (b"", False),
    ],
)
def test_bytes_of_a_newer_version_are_told_from_noise(body: bytes, is_newer: bool):
    with pytest.raises(ValueError, match="upgrade this process" if is_newer else "not an event of this stream") as told:
        decode_task_event(body)
    assert isinstance(told.value, NewerEvent) is is_newer


def test_a_register_too() -> None:
    with pytest.raises(NewerEvent, match=r"model\.announced\.v9"):
        decode_model_event(newer("model.announced.v9"))


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    caplog.set_level(logging.WARNING)
    async with asyncio.timeout(LIMIT_S):
        while text not in caplog.text:  # noqa: ASYNC110 - a log has no event to wait for
            await asyncio.sleep(0.02)
