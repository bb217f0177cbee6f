"""How a connection begins, what it refuses, and how it ends."""

import asyncio
import json
import logging

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from gateway.bridge import close_codes, session
from gateway.bridge.outbox import LIMIT_BYTES
from gateway.bridge.subscriptions import MAX_SUBSCRIPTIONS
from streams import subjects
from streams.codec import encode
from streams.events import TaskAssigned, TaskChunk, TaskEnded
from streams.subjects import MESH, TaskKey
from streams.tokens import token
from tests.bridge_server import BridgeServer
from tests.mesh_in_process import InProcessMesh
from tests.processes import until
from tests.raw_websocket import TEXT, RawWebsocket

CHUNK_CHARS = 48 * 1024


@pytest.mark.parametrize("wire", [None, "ig3.v1.json", "ig3.v1.msgpack"])
async def test_hello_comes_first_in_the_wanted_format(bridge: BridgeServer, wire: str | None):
    async with bridge.connect(wire) as client:
        hello = await client.receive()

    assert hello["type"] == "hello"
    assert hello["protocol"] == (wire or "ig3.v1.json")
    assert (hello["account"], hello["max_frame_bytes"]) == ("local", session.MAX_FRAME_BYTES)


async def test_ping_is_answered(bridge: BridgeServer):
    async with bridge.connect() as client:
        await client.send(type="ping", id=41)
        assert (await client.until_type("pong"))["id"] == 41


async def test_an_unknown_subprotocol_is_refused_before_the_connection_stands(bridge: BridgeServer):
    with pytest.raises(WSServerHandshakeError) as refusal:
        async with bridge.connect("graphql-ws"):
            pass
    assert refusal.value.status == 400


async def test_a_plain_request_is_told_that_this_is_a_websocket(bridge: BridgeServer):
    async with ClientSession() as http, http.get(f"{bridge.url}/ws") as response:
        assert response.status == 426


REFUSED = [
    ({"topic": "task"}, "bad_request"),
    ({"topic": "task", "task": "not-an-id"}, "bad_task_id"),
    ({"topic": "task", "task": "0" * 32}, "bad_task_id"),
    ({"topic": "task", "task": ">"}, "bad_task_id"),
    ({"topic": "task", "task": "01a20a9fb8247faf9e4c062b8de01035"}, "task_not_found"),
    ({"topic": "tasks", "task": "01a20a9fb8247faf9e4c062b8de01035"}, "bad_request"),
]


@pytest.mark.parametrize(("wish", "code"), REFUSED)
async def test_a_subscription_that_makes_no_sense_is_refused_by_name(bridge: BridgeServer, wish: dict, code: str):
    async with bridge.connect() as client:
        await client.send(type="subscribe", id=5, **wish)
        refusal = await client.until_type("error")
        await client.send(type="ping", id=6)
        await client.until_type("pong")

    assert (refusal["code"], refusal["id"], refusal["topic"]) == (code, 5, wish["topic"])


async def test_one_subscription_per_topic_and_none_that_is_not_there_can_be_left(bridge: BridgeServer):
    async with bridge.connect() as client:
        await client.send(type="unsubscribe", id=1, topic="nodes")
        left = await client.until_type("error")
        await client.send(type="subscribe", id=2, topic="nodes")
        await client.send(type="subscribe", id=3, topic="nodes")
        twice = await client.until_type("error")

    assert (left["code"], left["id"]) == ("not_subscribed", 1)
    assert (twice["code"], twice["id"]) == ("already_subscribed", 3)


async def test_a_connection_holds_so_many_subscriptions_and_no_more(mesh: InProcessMesh, bridge: BridgeServer):
    async with bridge.connect() as client:
        for number in range(MAX_SUBSCRIPTIONS + 1):
            key = await mesh.submit()
            await client.send(type="subscribe", id=number, topic="task", task=key.task)
        refusal = await client.until_type("error")

    assert (refusal["code"], refusal["id"]) == ("too_many_subscriptions", MAX_SUBSCRIPTIONS)


UNREADABLE = [
    "",
    "{",
    "[]",
    "null",
    '"subscribe"',
    '{"type": "subscribe"}',
    '{"type": "subscribe", "topic": "everything"}',
    '{"type": "subscribe", "topic": "nodes", "after": -1}',
    '{"type": "subscribe", "topic": "nodes", "more": 1}',
    '{"type": "ping", "id": 9007199254740993}',
    '{"type": "ping", "id": NaN}',
    "[" * 20_000,
    '{"type": "ping", "id": "\ud800"}'.encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
]


@pytest.mark.parametrize("text", UNREADABLE)
async def test_an_unreadable_frame_is_told_and_survived(bridge: BridgeServer, text: str):
    async with bridge.connect() as client:
        await client.ws.send_str(text)
        assert (await client.until_type("error"))["code"] == "bad_frame"
        await client.send(type="ping", id=1)
        await client.until_type("pong")


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81", b"\xdf\xff\xff\xff\xff", b"\x91" * 20_000, b"{}"])
async def test_unreadable_messagepack_is_told_and_survived(bridge: BridgeServer, data: bytes):
    async with bridge.connect("ig3.v1.msgpack") as client:
        await client.ws.send_bytes(data)
        assert (await client.until_type("error"))["code"] == "bad_frame"
        await client.send(type="ping", id=1)
        await client.until_type("pong")


async def test_a_frame_of_the_other_kind_is_told_and_survived(bridge: BridgeServer):
    async with bridge.connect("ig3.v1.msgpack") as client:
        await client.ws.send_str(json.dumps({"type": "ping"}))
        assert "binary" in (await client.until_type("error"))["message"]


async def test_who_sends_nothing_but_rubbish_is_sent_away_for_good(bridge: BridgeServer):
    async with bridge.connect() as client:
        for _ in range(session.BAD_FRAMES_ALLOWED + 1):
            await client.ws.send_str("rubbish")
        assert await client.until_closed() == close_codes.BAD_FRAMES.code


async def test_a_frame_that_is_too_big_ends_the_connection(bridge: BridgeServer):
    async with bridge.connect() as client:
        await client.ws.send_str(" " * (session.MAX_FRAME_BYTES + 1))
        assert await client.until_closed() == close_codes.TOO_BIG.code


async def test_a_stopping_gateway_says_come_back_at_once(bridge: BridgeServer):
    async with bridge.connect() as client:
        await client.receive()
        stopping = asyncio.create_task(bridge.stop())
        assert await client.until_closed() == close_codes.STOPPING.code
        await stopping


async def write_on(mesh: InProcessMesh, key: TaskKey, n: int) -> int:
    """Store the next event of a task as its node would: a chunk that is large enough to fill buffers soon."""
    if n == 1:
        event, writer = TaskAssigned(n=1, at_ms=0, attempt=1, node="n1", policy="test"), MESH
    else:
        text = "x" * CHUNK_CHARS
        event, writer = TaskChunk(n=n, attempt=1, offset=(n - 2) * CHUNK_CHARS, text=text, tokens=1), token("n1")
    await mesh.bus.edge.append(subjects.result(key, writer), encode(event))
    return n + 1


@pytest.mark.parametrize("topic", ["tasks", "task"])
async def test_a_reader_that_takes_nothing_is_sent_away_and_slows_nobody(
    mesh: InProcessMesh,
    bridge: BridgeServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    topic: str,
):
    monkeypatch.setattr("gateway.bridge.outbox.PATIENCE_S", 0.5)
    key = await mesh.submit()
    wish = {"topic": "tasks"} if topic == "tasks" else {"topic": "task", "task": key.task}
    slow = await RawWebsocket.connect(f"{bridge.url}/ws")
    await slow.send(type="subscribe", id=1, **wish)

    n = 1
    with caplog.at_level(logging.INFO, logger="gateway.bridge.session"):
        async with bridge.connect() as quick:
            await quick.send(type="subscribe", id=1, **wish)
            await quick.until_type("subscribed")
            while "sent away" not in caplog.text:
                n = await write_on(mesh, key, n)
                await quick.until(lambda frame: frame["type"] == "events" or frame.get("tasks", [{}])[0].get("n"))
    await slow.read_to_the_end()
    slow.close()

    assert slow.close_code() == close_codes.SLOW_READER.code
    assert len(slow.received) < LIMIT_BYTES * 4


async def test_a_reader_that_only_pauses_loses_nothing(mesh: InProcessMesh, bridge: BridgeServer):
    """What it could not take meanwhile is read from the stream: more than any buffer between would have held."""
    key = await mesh.submit()
    paused = await RawWebsocket.connect(f"{bridge.url}/ws")
    await paused.send(type="subscribe", id=1, topic="task", task=key.task)
    n = 1
    while (n - 2) * CHUNK_CHARS < LIMIT_BYTES * 6:
        n = await write_on(mesh, key, n)
    await mesh.bus.edge.append(subjects.result(key, MESH), encode(TaskEnded(n=n, at_ms=0, outcome="dead")))

    reading = asyncio.create_task(paused.read_to_the_end())
    await until(lambda: b'"type":"over"' in paused.received[-200:])
    reading.cancel()
    paused.close()

    frames = (json.loads(body) for opcode, body in paused.frames() if opcode == TEXT)
    events = (item["event"]["n"] for frame in frames for item in frame.get("events", ()))
    assert list(events) == list(range(1, n + 1))


async def test_everybody_is_told_when_the_broker_goes_away_and_when_it_is_back(
    mesh: InProcessMesh, bridge: BridgeServer
):
    async with bridge.connect() as early:
        assert (await early.receive())["bus_connected"] is True
        await mesh.server.__aexit__(None, None, None)
        assert (await early.until_type("bus"))["connected"] is False
        async with bridge.connect() as late:
            assert (await late.receive())["bus_connected"] is False
            await late.send(type="subscribe", id=1, topic="tasks")
            assert (await late.until_type("error"))["code"] == "bus_unavailable"
            await mesh.server.__aenter__()
            for client in (early, late):
                assert (await client.until_type("bus"))["connected"] is True


async def test_a_failure_inside_ends_the_connection_with_its_code(
    bridge: BridgeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def broken(*_: object) -> None:
        raise RuntimeError("no such thing was foreseen")

    monkeypatch.setattr("gateway.bridge.subscriptions.Subscriptions.subscribe", broken)
    with caplog.at_level(logging.ERROR, logger="gateway.bridge.session"):
        async with bridge.connect() as client:
            await client.send(type="subscribe", topic="nodes")
            assert await client.until_closed() == close_codes.INTERNAL.code
    assert "no such thing was foreseen" in caplog.text
