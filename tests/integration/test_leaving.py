"""A gateway that is asked to stop: short answers end, readers of longer ones are told where to go on, nobody waits."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import openai
import pytest

from tests.bridge_server import Socket
from tests.http_gateway import LIMIT_S, MODEL, HttpGateway, Sse, chat, read_sse, serve_http, sse_events, text_of
from tests.processes import until
from tests.scripted_mesh import WORDS, ScriptedMesh, scripted_mesh

TEXT = "".join(WORDS)
SHORT = timedelta(milliseconds=50)
LONG = timedelta(seconds=60)
FAREWELL = "gateway.http.server.FAREWELL_S"


@pytest.fixture(autouse=True)
def patient_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads is told, also where the bus stands still while the gateway leaves: a second later it would go."""
    monkeypatch.setattr(FAREWELL, LIMIT_S)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[ScriptedMesh]:
    async with scripted_mesh(tmp_path) as running:
        await running.bus.follow()
        running.pause_after = 3
        yield running


@pytest.fixture
async def other(mesh: ScriptedMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus) as serving:
        yield serving


def stop(gateway: HttpGateway) -> asyncio.Task[None]:
    """Ask it to stop, as a signal does."""
    return asyncio.create_task(gateway.server.__aexit__(None, None, None))


async def test_an_answer_that_ends_in_time_is_whole(mesh: ScriptedMesh) -> None:
    async with serve_http(mesh.bus, http_stop_timeout=LONG) as gateway:
        stream = await gateway.ask({"stream": True})
        plain = asyncio.create_task(gateway.ask())
        await until(lambda: len(mesh.submitted) == 2)
        stopping = stop(gateway)
        await until(lambda: gateway.leaving.has_begun)
        mesh.go.set()
        events = await read_sse(stream)
        assert (text_of(events), events[-1].data) == (TEXT, "[DONE]")
        assert (await (await plain).json())["choices"][0]["message"]["content"] == TEXT
        await asyncio.wait_for(stopping, LIMIT_S)


async def test_a_reader_of_a_long_answer_is_told_where_to_go_on(mesh: ScriptedMesh, other: HttpGateway) -> None:
    async with serve_http(mesh.bus, http_stop_timeout=SHORT) as gateway:
        streams = [await gateway.ask({"stream": True}) for _ in range(12)]
        stopping = stop(gateway)
        heads = [await read_sse(stream) for stream in streams]
        await asyncio.wait_for(stopping, LIMIT_S)
    for stream, head in zip(streams, heads, strict=True):
        error = head[-1].json["error"]
        assert (error["code"], error["type"]) == ("gateway_stopping", "server_error")
        assert f"x-ig3-task: {stream.headers['x-ig3-task']} and Last-Event-ID: {head[-1].id}." in error["message"]
    mesh.go.set()
    tails = await asyncio.gather(
        *(go_on(other, stream.headers["x-ig3-task"], head[-1]) for stream, head in zip(streams, heads, strict=True))
    )
    for head, tail in zip(heads, tails, strict=True):
        assert text_of(head[:-1] + tail) == TEXT
    assert len(mesh.submitted) == 12


async def go_on(gateway: HttpGateway, task: str, last: Sse) -> list[Sse]:
    return await read_sse(await gateway.ask({"stream": True}, x_ig3_task=task, Last_Event_ID=str(last.id)))


async def test_a_reader_of_events_is_told_too(mesh: ScriptedMesh, other: HttpGateway) -> None:
    async with serve_http(mesh.bus, http_stop_timeout=SHORT) as gateway:
        task = (await gateway.ask({"stream": True})).headers["x-ig3-task"]
        await mesh.paused.wait()
        response = await gateway.get(f"/v1/tasks/{task}/events")
        stopping = stop(gateway)
        head = [event async for event in sse_events(response)]
        await asyncio.wait_for(stopping, LIMIT_S)
    assert head[-1].data is None
    assert "this gateway stops" in head[-1].comments[0]
    mesh.go.set()
    tail = await read_sse(await other.get(f"/v1/tasks/{task}/events", Last_Event_ID=str(head[-1].id)))
    counters = [event.json["n"] for event in head + tail if event.data is not None]
    assert counters == list(range(1, len(WORDS) + 3))


async def test_a_plain_answer_that_does_not_end_in_time_is_a_503_and_goes_on(
    mesh: ScriptedMesh, other: HttpGateway
) -> None:
    async with serve_http(mesh.bus, http_stop_timeout=SHORT, on_disconnect="cancel") as gateway:
        asking = asyncio.create_task(gateway.ask(Idempotency_Key="k"))
        await mesh.paused.wait()
        stopping = stop(gateway)
        response = await asking
        await asyncio.wait_for(stopping, LIMIT_S)
        assert (response.status, (await response.json())["error"]["code"]) == (503, "gateway_stopping")
        assert response.headers["Retry-After"] == "1"
    mesh.go.set()
    again = await other.ask(Idempotency_Key="k")
    assert again.headers["x-ig3-task"] == response.headers["x-ig3-task"]
    assert (await again.json())["choices"][0]["message"]["content"] == TEXT


async def test_websockets_are_sent_away_at_once_and_nothing_new_is_taken(mesh: ScriptedMesh) -> None:
    async with serve_http(mesh.bus, http_stop_timeout=LONG) as gateway:
        stream = await gateway.ask({"stream": True})
        # Connections that were there before: what listens is closed first.
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.address.port)
        while await asked(reader, writer, "GET", "/readyz") != (200, ""):
            pass  # Of a bus that stands still for two seconds it says so.
        async with gateway.session.ws_connect(f"{gateway.url}/ws") as ws:
            watcher = Socket(ws)
            await watcher.until_type("hello")
            stopping = stop(gateway)
            assert await watcher.until_closed() == 1012
        assert await asked(reader, writer, "POST", "/v1/chat/completions") == (503, "gateway_stopping")
        writer.close()
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", gateway.server.address.port)).close()
        mesh.go.set()
        assert text_of(await read_sse(stream)) == TEXT
        await asyncio.wait_for(stopping, LIMIT_S)
    assert len(mesh.submitted) == 1


async def test_a_stopping_gateway_says_so_to_whoever_asks_if_it_is_ready(mesh: ScriptedMesh) -> None:
    async with serve_http(mesh.bus, http_stop_timeout=LONG) as gateway:
        stream = await gateway.ask({"stream": True})
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.address.port)
        assert await asked(reader, writer, "GET", "/healthz") == (200, "")
        stopping = stop(gateway)
        await until(lambda: gateway.leaving.has_begun)
        assert (await asked(reader, writer, "GET", "/readyz"))[0] == 503
        writer.close()
        mesh.go.set()
        await read_sse(stream)
        await asyncio.wait_for(stopping, LIMIT_S)


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, path: str) -> tuple[int, str]:
    """Ask on an open connection; returns status and error code."""
    body = json.dumps(chat()).encode() if method == "POST" else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)
    length = next(line for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    content = json.loads(await reader.readexactly(int(length.partition(b":")[2])))
    return int(answer.split()[1]), content.get("error", {}).get("code", "")


async def test_a_client_that_never_reads_holds_nobody_up(mesh: ScriptedMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FAREWELL, 2.0)
    mesh.pause_after = None
    mesh.words = tuple("x" * 200_000 for _ in range(20))
    async with serve_http(mesh.bus, http_stop_timeout=SHORT) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.server.address.port)) as raw:
            raw.setblocking(False)
            body = json.dumps(chat(stream=True)).encode()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
            await asyncio.get_running_loop().sock_sendall(raw, head + body)
            await until(lambda: len(mesh.submitted) == 1)
            await asyncio.wait_for(stop(gateway), LIMIT_S)


async def test_openais_client_raises_what_the_gateway_says(mesh: ScriptedMesh) -> None:
    async with (
        serve_http(mesh.bus, http_stop_timeout=SHORT) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True
        )
        stopping = stop(gateway)
        with pytest.raises(openai.APIError, match=r"Last-Event-ID: [0-9]+") as caught:
            async for _ in stream:
                pass
        await stream.close()
        await asyncio.wait_for(stopping, LIMIT_S)
    assert caught.value.code == "gateway_stopping"
