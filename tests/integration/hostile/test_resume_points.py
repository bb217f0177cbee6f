"""A point to go on from that cannot be right: each way of asking has one answer to it, and no task is changed by it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

import pytest
import pytest_asyncio

from mesh.bus.headers import header_block
from mesh.bus.link import Link
from mesh.client.client import open_client
from mesh.client.options import ClientOptions
from mesh.errors import MeshError
from streams import subjects
from streams.codec import decode, encode_json
from streams.errors import StreamsError
from streams.messages import EventsPage, Refusal
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import token
from tests.bridge_server import BridgeServer, serve_bridge
from tests.http_gateway import HttpGateway, read_sse, serve_http, text_of
from tests.integration.hostile.rogue import HONEST, Onlooker, Rogue
from tests.mesh_in_process import InProcessMesh
from tests.packed import packed

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXPIRED = new_task_id(1_700_000_000_000)
LOCAL = token("local")
NUMBERS = ["-1", "x", "1.5", "1e3", "0x10", "+1", "٣", "9" * 40, "1,2"]
JSON = header_block(("Content-Type", "application/json"))


@dataclass(kw_only=True)
class Stored:
    """Two tasks of ours that have ended, and one of another account."""

    ours: str
    longer: str
    theirs: str
    last_n: int
    longer_n: int


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stored(mesh: InProcessMesh, rogue: Rogue) -> Stored:
    ours, theirs = [await honest(mesh, rogue, account) for account in ("local", "victim")]
    return Stored(ours=ours, theirs=theirs, longer=await honest(mesh, rogue, "local", more=3), last_n=4, longer_n=7)


async def honest(mesh: InProcessMesh, rogue: Rogue, account: str, *, more: int = 0) -> str:
    """Have a task written as it should be, in two chunks and `more` that are empty."""
    key = TaskKey(token(account), new_task_id())
    onlooker = Onlooker(mesh, key)
    await mesh.submit(key, model="rogue")
    attempt = await rogue.take(key)
    await attempt.write("one ", n=2, offset=0)
    for n in range(3, 3 + more):
        await attempt.write("", n=n, offset=4)
    await attempt.write("two", n=3 + more, offset=4, last=True)
    attempt.finished()
    assert await onlooker.believes() == f"completed: {HONEST}"
    return key.task


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def user(mesh: InProcessMesh) -> Link:
    return await mesh.connect_user()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(mesh: InProcessMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bridge(mesh: InProcessMesh) -> AsyncIterator[BridgeServer]:
    async with serve_bridge(mesh.bus) as running:
        yield running


# --- on the bus: api.user.<account>.events -----------------------------------------------------------------------


async def asked(user: Link, *, as_json: bool = False, **fields: object) -> EventsPage | Refusal:
    body = {"type": "user.events.v1", **fields}
    data = encode_json(body) if as_json else packed(body)
    reply = await user.request(subjects.user_api(LOCAL, "events"), data, headers=JSON if as_json else b"")
    kind = "application/json" if as_json else None
    try:
        return decode(reply.data, Refusal, content_type=kind)
    except StreamsError:
        return decode(reply.data, EventsPage, content_type=kind)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("after", [-1, "1", 1.5, None, 2**53, [1], {}])
async def test_the_bus_refuses_what_is_no_counter(user: Link, stored: Stored, after: object, as_json: bool):
    answer = await asked(user, as_json=as_json, task=stored.ours, after=after)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.status) == ("invalid_request_error", 400)
    assert "after" in answer.message


@pytest.mark.parametrize(("after", "counters"), [(0, 4), (2, 2), (4, 0), (5, 0), (2**53 - 1, 0)])
async def test_the_bus_has_nothing_past_the_last_event(user: Link, stored: Stored, after: int, counters: int):
    answer = await asked(user, task=stored.ours, after=after)
    assert isinstance(answer, EventsPage)
    assert (len(answer.events), answer.more) == (counters, False)


async def test_the_bus_takes_a_counter_of_another_task_for_a_number(user: Link, stored: Stored):
    rest = await asked(user, task=stored.longer, after=stored.last_n)
    nothing = await asked(user, task=stored.ours, after=stored.longer_n)
    assert isinstance(rest, EventsPage)
    assert isinstance(nothing, EventsPage)
    assert (len(rest.events), len(nothing.events)) == (stored.longer_n - stored.last_n, 0)


@pytest.mark.parametrize("which", ["theirs", "nobody's", "expired"])
async def test_the_bus_knows_no_task_of_others(user: Link, stored: Stored, which: str):
    task = {"theirs": stored.theirs, "nobody's": new_task_id(), "expired": EXPIRED}[which]
    answer = await asked(user, task=task, after=1)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.status) == ("task_not_found", 404)


@pytest.mark.parametrize("task", ["", "x", "*", ">", "../x", "0" * 32, 7, None])
async def test_the_bus_refuses_an_id_that_is_none(user: Link, task: object):
    answer = await asked(user, task=task)
    assert isinstance(answer, Refusal)
    assert answer.status == 400


# --- over HTTP ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("way", ["events", "after", "stream"])
async def test_http_refuses_what_is_no_counter(gateway: HttpGateway, stored: Stored, way: str, number: str):
    if way == "events":
        headers = {"Last-Event-ID": number.encode().decode("latin-1")}
        response = await gateway.get(f"/v1/tasks/{stored.ours}/events", **headers)
    elif way == "after":
        response = await gateway.get(f"/v1/tasks/{stored.ours}/events?after={quote(number)}")
    else:
        headers = {"x_ig3_task": stored.ours, "Last_Event_ID": number.encode().decode("latin-1")}
        response = await gateway.ask({"stream": True, "model": "rogue"}, **headers)
    assert response.status == 400
    assert (await response.json())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("which", ["theirs", "nobody's"])
@pytest.mark.parametrize("way", ["events", "stream"])
async def test_http_knows_no_task_of_others(gateway: HttpGateway, stored: Stored, which: str, way: str):
    task = stored.theirs if which == "theirs" else new_task_id()
    if way == "events":
        response = await gateway.get(f"/v1/tasks/{task}/events", Last_Event_ID="1")
    else:
        response = await gateway.ask({"stream": True, "model": "rogue"}, x_ig3_task=task, Last_Event_ID="1")
    assert (response.status, (await response.json())["error"]["code"]) == (404, "task_not_found")


async def test_http_takes_a_counter_of_another_task_for_a_number(gateway: HttpGateway, stored: Stored):
    """It is behind what was written, or ahead of it: what it meant elsewhere is nobody's concern."""
    rest = await gateway.get(f"/v1/tasks/{stored.longer}/events", Last_Event_ID=str(stored.last_n))
    assert [int(event.id or 0) for event in await read_sse(rest) if event.data] == [5, 6, stored.longer_n]
    asked = {"stream": True, "model": "rogue"}
    rest = await gateway.ask(asked, x_ig3_task=stored.longer, Last_Event_ID=str(stored.last_n))
    assert text_of(await read_sse(rest)) == "two"

    ahead = await gateway.get(f"/v1/tasks/{stored.ours}/events", Last_Event_ID=str(stored.longer_n))
    assert (ahead.status, (await ahead.json())["error"]["code"]) == (400, "invalid_value")
    ahead = await gateway.ask(asked, x_ig3_task=stored.ours, Last_Event_ID=str(stored.longer_n))
    assert (ahead.status, (await ahead.json())["error"]["code"]) == (400, "invalid_value")


# --- by the websocket --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [-1, "1", 1.5, None, [1], 2**70])
async def test_the_websocket_refuses_what_is_no_counter(bridge: BridgeServer, stored: Stored, after: object):
    async with bridge.connect() as socket:
        await socket.send(type="subscribe", id=1, topic="task", task=stored.ours, after=after)
        error = await socket.until_type("error")
        assert not error.get("still_subscribed", False)


@pytest.mark.parametrize("which", ["theirs", "nobody's", "expired"])
async def test_the_websocket_knows_no_task_of_others(bridge: BridgeServer, stored: Stored, which: str):
    task = {"theirs": stored.theirs, "nobody's": new_task_id(), "expired": EXPIRED}[which]
    async with bridge.connect() as socket:
        await socket.send(type="subscribe", id=1, topic="task", task=task, after=1)
        error = await socket.until_type("error")
        assert error["code"] == "task_not_found"


async def test_the_websocket_takes_a_counter_of_another_task_for_a_number(bridge: BridgeServer, stored: Stored):
    async with bridge.connect() as socket:
        await socket.send(type="subscribe", id=1, topic="task", task=stored.longer, after=stored.last_n)
        events = await socket.until_type("events")
        assert [item["event"]["n"] for item in events["events"]] == [5, 6, stored.longer_n]
        await socket.send(type="subscribe", id=2, topic="task", task=stored.ours, after=stored.longer_n)
        assert (await socket.until_type("error"))["code"] == "ahead_of_task"


# --- by the Python client ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["theirs", "nobody's", "expired", "negative", "future"])
async def test_the_client_says_what_is_wrong(mesh: InProcessMesh, stored: Stored, which: str):
    options = ClientOptions(servers=(mesh.server.url,), account=LOCAL, seed_file=mesh.server.credentials.user.seed_path)
    task = {"theirs": stored.theirs, "nobody's": new_task_id(), "expired": EXPIRED}.get(which, stored.ours)
    after = {"negative": -1, "future": 99}.get(which, 1)
    async with await open_client(options) as client:
        with pytest.raises(MeshError) as told:
            [piece async for piece in await client.resume(task, after=after)]
        assert str(told.value)
