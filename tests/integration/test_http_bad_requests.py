"""Every malformed request gets the right 4xx in OpenAI's shape, and none of them becomes a task."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import get_args
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from gateway.fetching.fetcher import Fetcher
from gateway.http.chat.question import chat_question
from mesh.bus.answer import follow
from nodes.engine import EngineSpec
from streams import subjects
from streams.codec import encode
from streams.devices.replica import Ability
from streams.events import TaskEnded
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.http_gateway import LIMIT_S, HttpGateway, chat, serve_http
from tests.integration.malformed_chat import BODIES
from tests.integration.malformed_parts import CHAT, Bad
from tests.mesh_in_process import InProcessMesh
from tests.processes import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]

LIMIT = 64 * 1024


FETCHER = Fetcher()
PLAIN_ENGINE = EngineSpec(engine="synthetic", slots=4, without=get_args(Ability))

LONG = chat(messages=[{"role": "user", "content": "word " * 3000}])

REQUESTS = [
    Bad(name="too large", raw=b" " * (LIMIT + 1), status=413, code="request_too_large"),
    Bad(
        name="a form",
        raw=b"model=x",
        status=415,
        code="unsupported_media_type",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    ),
    Bad(name="text", raw=b"{}", status=415, code="unsupported_media_type", headers={"Content-Type": "text/plain"}),
    Bad(name="no gzip", raw=b"hello", code="invalid_body", headers={"Content-Encoding": "gzip"}),
    Bad(name="too long for the context", body=LONG, code="context_length_exceeded", param="messages"),
    Bad(
        name="too long for it, streamed",
        body={**LONG, "stream": True},
        code="context_length_exceeded",
        param="messages",
    ),
    Bad(name="urgency", body=chat(), headers={"x-ig3-urgency": "now"}, param="x-ig3-urgency"),
    Bad(name="deadline of nothing", body=chat(), headers={"x-ig3-deadline-ms": "0"}, param="x-ig3-deadline-ms"),
    Bad(name="deadline as a word", body=chat(), headers={"x-ig3-deadline-ms": "soon"}, param="x-ig3-deadline-ms"),
    Bad(name="deadline in a year", body=chat(), headers={"x-ig3-deadline-ms": "9" * 15}, param="x-ig3-deadline-ms"),
    Bad(name="on disconnect", body=chat(), headers={"x-ig3-on-disconnect": "cry"}, param="x-ig3-on-disconnect"),
    Bad(name="policy", body=chat(), headers={"x-ig3-policy": "privat"}, param="x-ig3-policy"),
    Bad(name="task id", body=chat(), headers={"x-ig3-task": "mine"}, param="x-ig3-task"),
    Bad(name="task id of 1970", body=chat(), headers={"x-ig3-task": f"{0:012x}7{1:03x}8{1:015x}"}, param="x-ig3-task"),
    Bad(name="unknown path", path="/v1/nothing", status=404, code="unknown_url"),
    Bad(name="odd method", method="PROPFIND", path="/v1/nothing", status=404, code="unknown_url"),
    Bad(name="unknown method", method="BREW", code="invalid_http"),
    Bad(name="a path that is no text", method="GET", path="/v1/%ff%fe", status=404, code="unknown_url"),
    Bad(name="wrong method", method="GET", status=405, code="method_not_supported"),
    Bad(name="deleting", method="DELETE", status=405, code="method_not_supported"),
    Bad(name="posting models", path="/v1/models", status=405, code="method_not_supported"),
    Bad(
        name="model that is not there",
        method="GET",
        path="/v1/models/no/such",
        status=404,
        code="model_not_found",
        param="model",
    ),
    Bad(name="no task id", method="GET", path="/v1/tasks/5", status=404, code="task_not_found", param="task"),
    Bad(
        name="unknown task",
        method="GET",
        path="/v1/tasks/01a20aa4b4ad762789471226aa882777",
        status=404,
        code="task_not_found",
        param="task",
    ),
    Bad(
        name="events of an unknown task",
        method="GET",
        path="/v1/tasks/01a20aa4b4ad762789471226aa882777/events",
        status=404,
        code="task_not_found",
        param="task",
    ),
    Bad(
        name="cancel of an unknown task",
        path="/v1/tasks/01a20aa4b4ad762789471226aa882777/cancel",
        status=404,
        code="task_not_found",
        param="task",
    ),
    Bad(
        name="events after a word",
        method="GET",
        path="/v1/tasks/01a20aa4b4ad762789471226aa882777/events?after=x",
        param="after",
    ),
    Bad(
        name="events after a minus",
        method="GET",
        path="/v1/tasks/01a20aa4b4ad762789471226aa882777/events",
        headers={"Last-Event-ID": "-1"},
        param="Last-Event-ID",
    ),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HttpGateway]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh") / "data") as mesh:
        await mesh.add_dispatcher()
        await mesh.add_node(interval_s=5, spec=PLAIN_ENGINE)
        async with serve_http(mesh.bus, http_body_limit=LIMIT) as serving:
            await serving.until_served()
            yield serving


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("bad", BODIES, ids=lambda bad: bad.name)
async def test_a_bad_body(gateway: HttpGateway, bad: Bad, stream: bool) -> None:
    await check(gateway, bad, bad.streamed if stream else bad.sent)


@pytest.mark.parametrize("bad", REQUESTS, ids=lambda bad: bad.name)
async def test_a_bad_request(gateway: HttpGateway, bad: Bad) -> None:
    await check(gateway, bad, bad.sent)


async def check(gateway: HttpGateway, bad: Bad, raw: bytes) -> None:
    headers = {"Content-Type": "application/json", **bad.headers}
    url = f"{gateway.url}{bad.path}"
    async with gateway.session.request(bad.method, url, data=raw, headers=headers) as response:
        text = await response.text()
    assert response.headers["Content-Type"] == "application/json", text
    assert response.headers["x-request-id"].startswith("req_")
    error = json.loads(text)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (response.status, error["code"], error["param"]) == (bad.status, bad.code, bad.param), text
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) > 10


async def test_a_refused_request_is_never_submitted(gateway: HttpGateway) -> None:
    submitted: list[str] = []
    listener = await gateway.bus.edge.listen("tasks.>", lambda delivery: submitted.append(delivery.subject))
    for bad in BODIES:
        await check(gateway, bad, bad.sent)
    # What was sent before this answer would have been heard before it.
    await gateway.bus.edge.request("$JS.API.INFO", b"")
    await listener.close()
    assert submitted == []


@pytest.mark.parametrize(
    "bad", [bad for bad in BODIES if isinstance(bad.body, dict) and "nobody" in bad.name], ids=lambda bad: bad.name
)
async def test_what_no_node_can_do_is_refused_on_the_bus_as_over_http(gateway: HttpGateway, bad: Bad) -> None:
    draft = chat_question(bad.sent, FETCHER).draft
    key = TaskKey(Token("local"), new_task_id())
    watch = gateway.bus.feed.watch(key)
    await gateway.bus.edge.append(subjects.submitted("standard", key), encode(draft))
    async with asyncio.timeout(LIMIT_S):
        steps = [step async for steps in follow(gateway.bus.source, key, watch=watch) for step in steps]
    end = steps[-1].event
    assert isinstance(end, TaskEnded)
    assert end.error is not None
    assert (end.error.status, end.error.code, end.error.param) == (bad.status, bad.code, bad.param)
    assert steps[-1].state.node is None


async def test_a_refusal_before_there_is_a_task_names_the_one_that_the_client_wanted(gateway: HttpGateway) -> None:
    task = new_task_id()
    for body in ({"messages": []}, {"model": "nobody-has-this"}, {"temperature": 9}):
        refused = await gateway.ask(body, x_ig3_task=task)
        assert (refused.status in (400, 404), refused.headers["x-ig3-task"]) == (True, task)
    late = await gateway.ask(x_ig3_task=task, x_ig3_urgency="now")
    assert (late.status, late.headers["x-ig3-task"]) == (400, task)
    assert "x-ig3-task" not in (await gateway.ask({"messages": []})).headers
    assert "x-ig3-task" not in (await gateway.ask(x_ig3_task="mine")).headers
    assert "x-ig3-task" not in (await gateway.get("/v1/models", x_ig3_task=task)).headers


async def test_a_wrong_method_is_told_which_ones_work(gateway: HttpGateway) -> None:
    async with gateway.session.put(f"{gateway.url}{CHAT}") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_a_body_without_a_length_is_limited_too(gateway: HttpGateway) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * LIMIT

    headers = {"Content-Type": "application/json"}
    async with gateway.session.post(f"{gateway.url}{CHAT}", data=endless(), headers=headers) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"x" * 9000), 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: %b\r\n\r\n" % (b"x" * 9000), 431),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n", 400),
    ],
)
async def test_what_is_not_http(gateway: HttpGateway, sent: bytes, status: int) -> None:
    head, body = await exchange(gateway, sent)
    assert head.startswith((f"HTTP/1.0 {status} ".encode(), f"HTTP/1.1 {status} ".encode())), head
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert b"\r\nx-request-id: " in head
    assert b"\r\nServer: ig3\r\n" in head


async def exchange(gateway: HttpGateway, sent: bytes) -> tuple[bytes, bytes]:
    address = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(sent)
    async with asyncio.timeout(LIMIT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        body = await reader.readexactly(int(length.partition(b":")[2]))
    writer.close()
    await writer.wait_closed()
    return head, body


async def test_the_gateway_still_serves_after_all_of_this(gateway: HttpGateway) -> None:
    response = await gateway.ask()
    assert response.status == 200, await response.text()


async def test_there_are_enough_cases() -> None:
    assert len(BODIES) + len(REQUESTS) >= 150
    assert len({bad.name for bad in (*BODIES, *REQUESTS)}) == len(BODIES) + len(REQUESTS)


async def test_an_address_that_has_too_many_connections_is_cut_off_before_it_is_heard(
    gateway: HttpGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve_http(gateway.bus, http_connections_per_address=2) as narrow:
        # Of this machine connections are not counted, and tests have no other.
        monkeypatch.setattr(narrow.server._arrivals, "_counts", lambda _: True)
        where = urlsplit(narrow.url)
        held = [await asyncio.open_connection(where.hostname, where.port) for _ in range(2)]
        for _ in range(3):
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), LIMIT_S) == b""
            writer.close()
        # Those that are there are served, and one that goes leaves its place to another.
        held[0][1].close()
        for reader, writer in (held[1], await one_that_is_served(narrow)):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert (await asyncio.wait_for(reader.readline(), LIMIT_S)).startswith(b"HTTP/1.1 200")
            writer.close()


async def one_that_is_served(gateway: HttpGateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as soon as the end of another connection has been noticed."""
    where = urlsplit(gateway.url)
    await until(lambda: sum(gateway.server._arrivals._open.values()) == 1)
    return await asyncio.open_connection(where.hostname, where.port)
