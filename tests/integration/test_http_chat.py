"""Chat completions over HTTP: plain answers and streams, what they look like, and what holds while they run."""

import asyncio
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from streams import subjects
from streams.codec import encode
from streams.events import TaskEnded, TaskError, TaskQueued
from streams.subjects import MESH, TaskKey
from streams.tasks.task_id import created_ms, new_task_id, parse_task_id
from streams.tokens import Token
from tests.http_gateway import LIMIT_S, MODEL, HttpGateway, chat, look_often, read_sse, serve_http, sse_events, text_of
from tests.scripted_mesh import WORDS, ScriptedMesh, scripted_mesh

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]

TEXT = "".join(WORDS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScriptedMesh]:
    async with scripted_mesh(tmp_path_factory.mktemp("mesh")) as running:
        await running.bus.feed.start()
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def mesh(running: ScriptedMesh) -> ScriptedMesh:
    await running.begin_anew()
    return running


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(mesh: ScriptedMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus) as serving:
        yield serving


async def test_a_plain_answer_is_openais_object_exactly(gateway: HttpGateway) -> None:
    response = await gateway.ask()
    answer = await response.json()
    task = response.headers["x-ig3-task"]
    assert answer == {
        "id": f"chatcmpl-{task}",
        "object": "chat.completion",
        "created": created_ms(Token(task)) // 1000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": len(WORDS),
            "total_tokens": 3 + len(WORDS),
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        },
        "system_fingerprint": "fp_ig3_1",
    }
    assert int(response.headers["openai-processing-ms"]) >= 0
    assert response.headers["x-request-id"].startswith("req_")


async def test_what_was_asked_is_what_is_submitted(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    content = [{"type": "text", "text": "Why is the "}, {"type": "text", "text": "sky blue?"}]
    body = {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content, "name": "ada"}],
        "max_tokens": 5,
        "max_completion_tokens": 9,
        "temperature": 0,
        "top_p": 0.5,
        "seed": -3,
        "stop": "END",
        "presence_penalty": -1,
        "frequency_penalty": 1.5,
        "user": "ada",
        "metadata": {"a": "b"},
        "n": 1,
        "response_format": {"type": "text"},
        "nobody_knows_this": [1],
    }
    assert (await gateway.ask(body)).status == 200
    asked = mesh.submitted[0]
    assert [(message.role, message.content, message.name) for message in asked.messages] == [
        ("system", "Be brief.", None),
        ("user", "Why is the sky blue?", "ada"),
    ]
    sampling = asked.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.seed) == (9, 0, 0.5, -3)
    assert (sampling.stop, sampling.presence_penalty, sampling.frequency_penalty) == (("END",), -1, 1.5)


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, {}, "interactive"),
        ({"x_ig3_urgency": "batch"}, {}, "batch"),
        ({"x_ig3_urgency": "standard"}, {"service_tier": "flex"}, "standard"),
        ({}, {"service_tier": "flex"}, "batch"),
        ({}, {"service_tier": "auto"}, "interactive"),
    ],
)
async def test_urgency_chooses_the_class(
    mesh: ScriptedMesh, gateway: HttpGateway, headers: dict[str, str], body: dict[str, object], expected: str
) -> None:
    seen: list[str] = []
    listener = await mesh.bus.edge.listen("tasks.>", lambda delivery: seen.append(delivery.subject))
    assert (await gateway.ask(body, **headers)).status == 200
    await listener.close()
    assert [subjects.parse_submitted(subject).service_class for subject in seen] == [expected]


async def test_the_deadline_goes_along(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    before = time.time_ns() // 1_000_000
    assert (await gateway.ask(x_ig3_deadline_ms="12345")).status == 200
    deadline = mesh.submitted[0].deadline_at_ms
    assert deadline is not None
    assert before + 12_345 <= deadline <= time.time_ns() // 1_000_000 + 12_345


async def test_a_stream_is_openais_chunks_with_the_counter_as_id(gateway: HttpGateway) -> None:
    response = await gateway.ask({"stream": True})
    events = await read_sse(response)
    assert events[-1].data == "[DONE]"
    first, *middle, last = [event.json for event in events[:-1]]
    task = response.headers["x-ig3-task"]
    assert first == {
        "id": f"chatcmpl-{task}",
        "object": "chat.completion.chunk",
        "created": created_ms(Token(task)) // 1000,
        "model": MODEL,
        "system_fingerprint": "fp_ig3_1",
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "", "refusal": None},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
    }
    assert [chunk["choices"][0]["delta"] for chunk in middle] == [{"content": word} for word in WORDS]
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    # The marker `assigned` was 1; each word is an event of its own; the end has the last counter.
    assert [event.id for event in events if event.id] == [str(n) for n in range(2, len(WORDS) + 3)]


async def test_usage_comes_in_a_chunk_of_its_own_when_it_is_asked_for(gateway: HttpGateway) -> None:
    events = await read_sse(await gateway.ask({"stream": True, "stream_options": {"include_usage": True}}))
    chunks = [event.json for event in events[:-1]]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], len(WORDS))


async def test_text_is_escaped_as_json_wants(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    mesh.words = ('"quoted"\n', "back\\slash ", "\u2028 \x00 ", "海🌊 ", "data: x\n\n", "id: 7\r\n", "end")
    plain = await (await gateway.ask()).json()
    streamed = text_of(await read_sse(await gateway.ask({"stream": True})))
    assert plain["choices"][0]["message"]["content"] == streamed == "".join(mesh.words)


async def test_words_arrive_before_the_answer_is_complete(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    mesh.pause_after = 3
    events = sse_events(await gateway.ask({"stream": True}))
    async with asyncio.timeout(LIMIT_S):
        head = [await anext(events) for _ in range(4)]
    assert text_of(head) == "".join(WORDS[:3])
    mesh.go.set()
    tail = [event async for event in events]
    assert text_of(head + tail) == TEXT


@pytest.mark.parametrize("stream", [False, True])
async def test_a_task_that_fails_at_once_is_an_error_with_its_status(
    mesh: ScriptedMesh, gateway: HttpGateway, stream: bool
) -> None:
    mesh.words = ()
    mesh.error = TaskError(code="context_length_exceeded", message="It is too long.", status=400)
    response = await gateway.ask({"stream": stream})
    assert response.status == 400
    assert (await response.json())["error"] == {
        "message": "It is too long.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
    assert parse_task_id(response.headers["x-ig3-task"])


async def test_a_failure_after_the_first_word_is_an_event(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    mesh.pause_after = 2
    mesh.error = TaskError(code="node_lost", message="The node is gone.", status=502)
    response = await gateway.ask({"stream": True})
    events = sse_events(response)
    async with asyncio.timeout(LIMIT_S):
        head = [await anext(events) for _ in range(3)]
    mesh.go.set()
    tail = [event async for event in events]
    assert response.status == 200
    assert tail[-1].json == {
        "error": {"message": "The node is gone.", "type": "server_error", "param": None, "code": "node_lost"}
    }
    assert text_of(head + tail[:-1]) == TEXT


async def test_a_failure_of_a_plain_answer_has_the_status_of_its_reason(
    mesh: ScriptedMesh, gateway: HttpGateway
) -> None:
    mesh.error = TaskError(code="node_lost", message="The node is gone.", status=502)
    response = await gateway.ask()
    assert (response.status, (await response.json())["error"]["code"]) == (502, "node_lost")


async def test_a_status_that_http_does_not_have_is_a_500(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    mesh.error = TaskError(code="odd", message="Something odd.", status=7)
    assert (await gateway.ask()).status == 500


async def test_a_queued_task_says_so_and_why(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    task = new_task_id()
    key = TaskKey(Token("local"), task)
    queued = TaskQueued(n=1, at_ms=0, position=3, reason="no slot\nis free")
    await mesh.bus.edge.append(subjects.result(key, MESH), encode(queued))
    await mesh.bus.edge.append(subjects.submitted("batch", key), b"\xc1 what the scripted dispatcher cannot read")
    events = sse_events(await gateway.ask({"stream": True}, x_ig3_task=task, x_ig3_urgency="batch"))
    async with asyncio.timeout(LIMIT_S):
        assert (await anext(events)).comments == ["queued position=3 reason=no slot is free"]
    ended = TaskEnded(n=2, at_ms=0, outcome="cancelled")
    await mesh.bus.edge.append(subjects.result(key, MESH), encode(ended))
    assert [event.json["error"]["code"] async for event in events] == ["cancelled"]


async def test_a_repeat_of_a_task_id_gets_the_stored_answer(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    task = new_task_id()
    first = await (await gateway.ask(x_ig3_task=task)).json()
    again = await (await gateway.ask(x_ig3_task=task)).json()
    streamed = await read_sse(await gateway.ask({"stream": True}, x_ig3_task=str(uuid.UUID(task))))
    assert again == first
    assert first["id"] == f"chatcmpl-{task}"
    assert text_of(streamed) == TEXT
    assert len(mesh.submitted) == 1


async def test_a_repeat_while_it_runs_joins_the_running_answer(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    mesh.pause_after = 2
    task = new_task_id()
    first = asyncio.create_task(gateway.ask(x_ig3_task=task))
    await mesh.paused.wait()
    second = asyncio.create_task(gateway.ask(x_ig3_task=task))
    mesh.go.set()
    assert await (await first).json() == await (await second).json()
    assert len(mesh.submitted) == 1


async def test_a_dropped_stream_goes_on_at_another_gateway_without_repeat_or_gap(
    mesh: ScriptedMesh, gateway: HttpGateway
) -> None:
    mesh.pause_after = 4
    response = await gateway.ask({"stream": True})
    events = sse_events(response)
    async with asyncio.timeout(LIMIT_S):
        head = [await anext(events) for _ in range(5)]
    response.close()
    mesh.go.set()
    async with serve_http(mesh.bus) as other:
        resumed = await other.ask(
            {"stream": True}, x_ig3_task=response.headers["x-ig3-task"], Last_Event_ID=str(head[-1].id)
        )
        tail = await read_sse(resumed)
    assert text_of(head) + text_of(tail) == TEXT
    assert tail[-1].data == "[DONE]"


async def test_a_client_that_hangs_up_leaves_the_task_alone(mesh: ScriptedMesh, gateway: HttpGateway) -> None:
    mesh.pause_after = 1
    response = await gateway.ask({"stream": True})
    task = response.headers["x-ig3-task"]
    response.close()
    mesh.go.set()
    answer = await (await gateway.ask(x_ig3_task=task)).json()
    assert answer["choices"][0]["message"]["content"] == TEXT


async def test_a_bus_that_restarts_in_the_middle_costs_no_word(tmp_path: Path) -> None:
    async with scripted_mesh(tmp_path) as mesh, serve_http(mesh.bus) as gateway:
        await mesh.bus.feed.start()
        mesh.pause_after = 5
        events = sse_events(await gateway.ask({"stream": True}))
        async with asyncio.timeout(LIMIT_S):
            head = [await anext(events) for _ in range(6)]
        await mesh.broker.kill()
        mesh.go.set()
        async with asyncio.timeout(LIMIT_S):
            tail = [event async for event in events if event.data]
        assert text_of(head + tail) == TEXT


async def test_a_quiet_stream_is_kept_alive_by_comments(mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    look_often(monkeypatch)
    mesh.pause_after = 1
    async with serve_http(mesh.bus, sse_keep_alive=timedelta(milliseconds=1)) as gateway:
        response = await gateway.ask({"stream": True})
        async with asyncio.timeout(LIMIT_S):
            while await response.content.readline() != b": keep-alive\n":
                pass
        mesh.go.set()
        assert (await read_to_end(sse_events(response)))[-1] == "[DONE]"


async def read_to_end(events: AsyncIterator[object]) -> list[str | None]:
    return [getattr(event, "data", None) async for event in events]


async def test_an_answer_whose_dispatchers_are_gone_ends_after_its_deadline(
    mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.exchange.OVERDUE_MS", 0)
    look_often(monkeypatch)
    mesh.pause_after = 1
    async with serve_http(mesh.bus) as gateway:
        response = await gateway.ask(x_ig3_deadline_ms="1")
        assert (response.status, (await response.json())["error"]["code"]) == (504, "deadline_exceeded")


async def test_the_clients_request_id_is_kept_if_it_is_sane(gateway: HttpGateway) -> None:
    kept = await gateway.get("/v1/models", x_request_id="trace-7/a.b=c")
    replaced = await gateway.get("/v1/models", x_request_id="a b\tc")
    assert kept.headers["x-request-id"] == "trace-7/a.b=c"
    assert replaced.headers["x-request-id"].startswith("req_")


async def test_http_1_0_gets_a_stream_too(gateway: HttpGateway) -> None:
    body = json.dumps(chat(stream=True)).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.address.port)
    head = b"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
    async with asyncio.timeout(LIMIT_S):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert answer.endswith(b"data: [DONE]\n\n")


async def test_what_follows_a_request_on_its_connection_is_served(gateway: HttpGateway) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        for number in range(3):
            url = f"{gateway.url}/v1/chat/completions"
            async with session.post(url, json=chat(stream=number % 2 == 0)) as response:
                assert response.status == 200
                await response.read()


async def test_a_body_that_never_ends_is_a_timeout(mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.server._LINGER_S", 0.05)
    async with serve_http(mesh.bus, http_body_timeout=timedelta(milliseconds=50)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.address.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        async with asyncio.timeout(LIMIT_S):
            answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b'"code":"request_timeout"' in answer


async def test_a_connection_without_a_whole_request_is_closed(mesh: ScriptedMesh) -> None:
    async with serve_http(mesh.bus, http_idle_timeout=timedelta(milliseconds=50)) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.address.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: loc")
        async with asyncio.timeout(LIMIT_S):
            assert await reader.read() == b""
        writer.close()


async def test_answers_leave_at_once(gateway: HttpGateway) -> None:
    """TCP_NODELAY is set on the gateway's side of a connection."""
    response = await gateway.get("/healthz")
    assert response.status == 200
    connections = gateway.server._runner.server
    assert connections is not None
    sockets = [
        connection.transport.get_extra_info("socket") for connection in connections.connections if connection.transport
    ]
    assert sockets
    assert all(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in sockets)
