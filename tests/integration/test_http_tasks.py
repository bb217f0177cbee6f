"""Tasks over HTTP: what one has become, its events from any gateway, cancelling it, and what a hang-up means."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.http import server
from mesh.bus.answer import follow
from streams.events import TaskEvent
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.http_gateway import (
    LIMIT_S,
    HttpGateway,
    Sse,
    chat,
    look_often,
    read_sse,
    serve_http,
    sse_events,
    text_of,
    until,
)
from tests.mesh_in_process import InProcessMesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOW_MS = 20
MANY = 2000
"""Tokens that take far longer than any of these tests."""
LONG = 20_000
"""Tokens of an answer that no buffer holds, be it in many chunks or few."""
BUFFERED = 80_000
"""Bytes that can be under way to a client that does not read: 64 KiB in aiohttp, the rest in the kernel."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh") / "data") as running:
        await running.add_dispatcher()
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(mesh: InProcessMesh) -> AsyncIterator[HttpGateway]:
    await mesh.add_node(interval_s=5, delay_ms=SLOW_MS)
    async with serve_http(mesh.bus) as serving:
        await serving.until_served()
        yield serving


async def ended(mesh: InProcessMesh, task: str) -> TaskEvent:
    """Wait for a task's end."""
    async with asyncio.timeout(LIMIT_S):
        steps = [
            step async for steps in follow(mesh.bus.source, TaskKey(Token("local"), Token(task))) for step in steps
        ]
    return steps[-1].event


async def has_begun(gateway: HttpGateway, task: str) -> bool:
    return (await (await gateway.get(f"/v1/tasks/{task}")).json()).get("phase") == "running"


async def test_a_finished_task_is_summed_up(gateway: HttpGateway) -> None:
    task = (await gateway.ask({"max_tokens": 4})).headers["x-ig3-task"]
    response = await gateway.get(f"/v1/tasks/{task}")
    summary = await response.json()
    assert response.headers["x-ig3-task"] == task
    assert summary["id"] == task
    assert (summary["phase"], summary["outcome"], summary["error"]) == ("ended", "completed", None)
    assert (summary["node"], summary["attempt"], summary["model"]) == ("n1", 1, "synthetic")
    assert (summary["finish_reason"], summary["usage"]["completion_tokens"]) == ("length", 4)
    assert [(share["node"], share["tokens"]) for share in summary["shares"]] == [("n1", 4)]


async def test_openais_id_of_an_answer_names_its_task_too(gateway: HttpGateway) -> None:
    answer = await (await gateway.ask({"max_tokens": 1})).json()
    assert (await gateway.get(f"/v1/tasks/{answer['id']}")).status == 200


async def test_a_waiting_task_shows_its_place_and_why(mesh: InProcessMesh, gateway: HttpGateway) -> None:
    asking = asyncio.create_task(gateway.ask({"model": "promised", "stream": True}))
    response = await asking
    task = response.headers["x-ig3-task"]
    summary = await (await gateway.get(f"/v1/tasks/{task}")).json()
    assert (summary["phase"], summary["position"], summary["node"]) == ("waiting", 0, None)
    assert summary["reason"]
    events = sse_events(response)
    assert (await anext(events)).comments[0].startswith("queued position=0 reason=")
    assert (await gateway.post(f"/v1/tasks/{task}/cancel", None)).status == 200


async def test_a_task_that_nobody_has_seen_yet_is_known(tmp_path: Path) -> None:
    async with InProcessMesh(folder=tmp_path / "other") as mesh, serve_http(mesh.bus) as gateway:
        key = await mesh.submit()
        summary = await (await gateway.get(f"/v1/tasks/{key.task}")).json()
        assert (summary["phase"], summary["model"], summary["n"]) == ("submitted", "synthetic", 0)


async def test_events_are_all_of_them_and_end_with_the_task(gateway: HttpGateway) -> None:
    task = (await gateway.ask({"max_tokens": 3})).headers["x-ig3-task"]
    response = await gateway.get(f"/v1/tasks/{task}/events")
    events = await read_sse(response)
    bodies = [event.json for event in events]
    assert [event.id for event in events] == [str(body["n"]) for body in bodies]
    assert [body["n"] for body in bodies] == list(range(1, len(bodies) + 1))
    assert (bodies[0]["type"], bodies[0]["writer"]) == ("task.assigned.v1", "mesh")
    assert {body["writer"] for body in bodies[1:-1]} == {"n1"}
    assert (bodies[-1]["type"], bodies[-1]["outcome"]) == ("task.ended.v1", "completed")
    assert bodies[0]["candidates"][0]["node"] == "n1"


@pytest.mark.parametrize("how", ["header", "query", "both"])
async def test_events_go_on_behind_a_counter_at_another_gateway(
    mesh: InProcessMesh, gateway: HttpGateway, how: str
) -> None:
    response = await gateway.ask({"max_tokens": 12, "stream": True})
    task = response.headers["x-ig3-task"]
    followed = await gateway.get(f"/v1/tasks/{task}/events")
    events = sse_events(followed)
    async with asyncio.timeout(LIMIT_S):
        # The assignment and the first words: the others may come together with these.
        head = [await anext(events) for _ in range(2)]
    followed.close()
    query = {"header": "", "query": f"?after={head[-1].id}", "both": "?after=1"}[how]
    headers = {} if how == "query" else {"Last_Event_ID": str(head[-1].id)}
    async with serve_http(mesh.bus) as other:
        tail = await read_sse(await other.get(f"/v1/tasks/{task}/events{query}", **headers))
    counters = [event.json["n"] for event in head + tail]
    assert counters == list(range(1, len(counters) + 1))
    assert tail[-1].json["type"] == "task.ended.v1"


async def test_a_reader_that_has_it_all_is_told_not_to_come_back(gateway: HttpGateway) -> None:
    task = (await gateway.ask({"max_tokens": 1})).headers["x-ig3-task"]
    events = await read_sse(await gateway.get(f"/v1/tasks/{task}/events"))
    again = await gateway.get(f"/v1/tasks/{task}/events", Last_Event_ID=str(events[-1].id))
    assert (again.status, await again.read()) == (204, b"")


async def test_a_running_task_is_cancelled(mesh: InProcessMesh, gateway: HttpGateway) -> None:
    response = await gateway.ask({"max_tokens": MANY, "stream": True})
    task = response.headers["x-ig3-task"]
    cancelled = await gateway.post(f"/v1/tasks/{task}/cancel", None)
    assert await cancelled.json() == {"id": task, "object": "task.cancel", "outcome": "cancelled"}
    events = await read_sse(response)
    assert events[-1].json["error"]["code"] == "cancelled"
    again = await gateway.post(f"/v1/tasks/{task}/cancel", None)
    assert (await again.json())["outcome"] == "cancelled"


async def test_a_cancel_is_the_same_with_any_key_and_uses_none_up(mesh: InProcessMesh, gateway: HttpGateway) -> None:
    first = await gateway.ask({"model": "synthetic"}, Idempotency_Key="k")
    task, body = first.headers["x-ig3-task"], await first.read()
    for key in ("k", "k", "fresh"):
        answer = await gateway.post(f"/v1/tasks/{task}/cancel", {}, Idempotency_Key=key)
        assert (answer.status, (await answer.json())["outcome"]) == (200, "completed")
    assert await (await gateway.ask({"model": "synthetic"}, Idempotency_Key="k")).read() == body
    other = await gateway.ask({"model": "synthetic"}, Idempotency_Key="fresh")
    assert (other.status, other.headers["x-ig3-task"] != task) == (200, True)


async def test_a_plain_answer_that_is_cancelled_is_a_499(gateway: HttpGateway) -> None:
    task = new_task_id()
    asking = asyncio.create_task(gateway.ask({"max_tokens": MANY}, x_ig3_task=task))
    await until(lambda: has_begun(gateway, task))
    await gateway.post(f"/v1/tasks/{task}/cancel", None)
    response = await asking
    assert (response.status, (await response.json())["error"]["code"]) == (499, "cancelled")


async def test_cancelling_what_is_over_says_how_it_ended(gateway: HttpGateway) -> None:
    task = (await gateway.ask({"max_tokens": 1})).headers["x-ig3-task"]
    assert (await (await gateway.post(f"/v1/tasks/{task}/cancel", None)).json())["outcome"] == "completed"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("by", ["header", "setting", "account"])
async def test_a_hang_up_cancels_the_task_where_the_client_or_the_settings_say_so(
    mesh: InProcessMesh, gateway: HttpGateway, stream: bool, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_often(monkeypatch)
    task = new_task_id()
    headers = {"x_ig3_on_disconnect": "cancel"} if by == "header" else {}
    settings = {
        "on_disconnect": "cancel" if by == "setting" else "continue",
        "on_disconnect_of": ("other=continue", "local=cancel") if by == "account" else (),
    }
    async with serve_http(mesh.bus, **settings) as serving:
        await serving.until_served()
        asking = asyncio.create_task(serving.ask({"max_tokens": MANY, "stream": stream}, x_ig3_task=task, **headers))
        await until(lambda: has_begun(gateway, task))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await serving.session.close()
        end = await ended(mesh, task)
    assert getattr(end, "outcome", None) == "cancelled"


async def test_a_task_of_another_account_is_not_known(mesh: InProcessMesh, gateway: HttpGateway) -> None:
    key = await mesh.submit(mesh.key("somebody-else"), tokens=1)
    async with asyncio.timeout(LIMIT_S):
        async for _ in follow(mesh.bus.source, key):
            pass
    for path in ("", "/events"):
        assert (await gateway.get(f"/v1/tasks/{key.task}{path}")).status == 404
    assert (await gateway.post(f"/v1/tasks/{key.task}/cancel", None)).status == 404


async def test_a_client_that_reads_late_gets_every_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SEND_BUFFER", 4096)
    async with InProcessMesh(folder=tmp_path / "other") as mesh, serve_http(mesh.bus) as gateway:
        await mesh.add_dispatcher()
        await mesh.add_node(interval_s=5)
        await gateway.until_served()
        plain = await (await gateway.ask({"max_tokens": LONG})).json()
        task = new_task_id()
        with socket.socket() as raw:
            # Before connecting: a window that shrinks below one segment later makes the kernel send by its timers only.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", gateway.server.address.port))
            raw.setblocking(False)
            body = json.dumps(chat(max_tokens=LONG, stream=True)).encode()
            head = f"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nx-ig3-task: {task}\r\n"
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(raw, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await ended(mesh, task)
            received = b""
            async with asyncio.timeout(LIMIT_S):
                while part := await loop.sock_recv(raw, 65536):
                    received += part
    assert len(received) > BUFFERED, "nothing has waited for the reader"
    events = [Sse(data=line[6:]) for line in received.decode().splitlines() if line.startswith("data: ")]
    assert events[-1].data == "[DONE]"
    assert text_of(events) == plain["choices"][0]["message"]["content"]
