"""Whoever comes back with the last counter that it has gets exactly the rest, at any gateway, however many read."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.client.client import open_client
from mesh.errors import TaskRefused
from streams.tasks.task_id import new_task_id
from tests.bridge_server import BridgeServer, serve_bridge
from tests.http_gateway import LIMIT_S, HttpGateway, Sse, read_sse, serve_http, sse_events, text_of
from tests.scripted_mesh import WORDS, ScriptedMesh, scripted_mesh

TEXT = "".join(WORDS)
ENDED_AT = len(WORDS) + 2


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[ScriptedMesh]:
    async with scripted_mesh(tmp_path) as running:
        await running.bus.follow()
        yield running


@pytest.fixture
async def gateways(mesh: ScriptedMesh) -> AsyncIterator[tuple[HttpGateway, HttpGateway]]:
    async with serve_http(mesh.bus) as one, serve_http(mesh.bus) as other:
        yield one, other


@pytest.fixture
async def bridges(mesh: ScriptedMesh) -> AsyncIterator[tuple[BridgeServer, BridgeServer]]:
    async with serve_bridge(mesh.bus) as one, serve_bridge(mesh.bus) as other:
        yield one, other


async def take(events: AsyncIterator[Sse], last_id: int) -> list[Sse]:
    """Read up to an id."""
    seen: list[Sse] = []
    async with asyncio.timeout(LIMIT_S):
        while not seen or seen[-1].id != str(last_id):
            seen.append(await anext(events))
    return seen


def texts(events: list[Sse]) -> str:
    return "".join(event.json.get("text", "") for event in events)


async def websocket_rest(server: BridgeServer, task: str, after: int) -> list[int]:
    async with server.connect() as socket:
        await socket.send(type="subscribe", id=1, topic="task", task=task, after=after)
        await socket.until_type("over")
        return [event["n"] for event in socket.events(task)]


async def test_many_readers_of_one_running_answer_drop_and_go_on_elsewhere(
    mesh: ScriptedMesh, gateways: tuple[HttpGateway, HttpGateway]
) -> None:
    one, other = gateways
    mesh.pause_after = 20
    asking = await one.ask({"stream": True})
    task = asking.headers["x-ig3-task"]
    first = [asking, *[await one.ask({"stream": True}, x_ig3_task=task) for _ in range(4)]]
    heads = [await take(sse_events(stream), 2 + number * 3) for number, stream in enumerate(first)]
    for stream in first:
        stream.close()
    mesh.go.set()
    tails = await asyncio.gather(
        *(
            read_of(gateway, task, str(head[-1].id))
            for head, gateway in zip(heads, (other, one, other, one, other), strict=True)
        )
    )
    assert [text_of(head + tail) for head, tail in zip(heads, tails, strict=True)] == [TEXT] * 5
    assert len(mesh.submitted) == 1


async def read_of(gateway: HttpGateway, task: str, after: str) -> list[Sse]:
    return await read_sse(await gateway.ask({"stream": True}, x_ig3_task=task, Last_Event_ID=after))


async def test_events_and_websockets_read_the_same_task_side_by_side(
    mesh: ScriptedMesh, gateways: tuple[HttpGateway, HttpGateway], bridges: tuple[BridgeServer, BridgeServer]
) -> None:
    mesh.pause_after = 10
    task = (await gateways[0].ask({"stream": True})).headers["x-ig3-task"]
    await mesh.paused.wait()
    reading = [
        asyncio.create_task(work)
        for gateway, bridge in zip(gateways, bridges, strict=True)
        for work in (events_rest(gateway, task, 5), websocket_rest(bridge, task, 5))
    ]
    mesh.go.set()
    async with asyncio.timeout(LIMIT_S):
        assert await asyncio.gather(*reading) == [list(range(6, ENDED_AT + 1))] * 4


async def events_rest(gateway: HttpGateway, task: str, after: int) -> list[int]:
    return [event.json["n"] for event in await read_sse(await gateway.get(f"/v1/tasks/{task}/events?after={after}"))]


@pytest.mark.parametrize("after", [0, 1, 17, ENDED_AT - 1])
async def test_every_point_of_a_stored_answer_has_its_rest(
    mesh: ScriptedMesh,
    gateways: tuple[HttpGateway, HttpGateway],
    bridges: tuple[BridgeServer, BridgeServer],
    after: int,
) -> None:
    task = (await gateways[0].ask()).headers["x-ig3-task"]
    rest = list(range(after + 1, ENDED_AT + 1))
    assert await events_rest(gateways[1], task, after) == rest
    assert await websocket_rest(bridges[1], task, after) == rest
    spoken = text_of(await read_sse(await gateways[1].ask({"stream": True}, x_ig3_task=task, Last_Event_ID=str(after))))
    assert spoken == "".join(WORDS[max(0, after - 1) :])


# --- resume points that cannot be right --------------------------------------------------------------------------


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("kind", ["stream", "events"])
async def test_a_point_in_the_future_is_refused(
    mesh: ScriptedMesh, gateways: tuple[HttpGateway, HttpGateway], running: bool, kind: str
) -> None:
    mesh.pause_after = 3 if running else None
    task = new_task_id()
    asking = asyncio.create_task(gateways[0].ask({"stream": True}, x_ig3_task=task))
    await (mesh.paused.wait() if running else asking)
    if kind == "stream":
        response = await gateways[1].ask({"stream": True}, x_ig3_task=task, Last_Event_ID="1000")
    else:
        response = await gateways[1].get(f"/v1/tasks/{task}/events", Last_Event_ID="1000")
    error = (await response.json())["error"]
    assert (response.status, error["code"], error["param"]) == (400, "invalid_value", "Last-Event-ID")
    assert "lies ahead of the task" in error["message"]
    mesh.go.set()
    await (await asking).read()


async def test_a_websocket_point_in_the_future_is_refused(
    mesh: ScriptedMesh, gateways: tuple[HttpGateway, HttpGateway], bridges: tuple[BridgeServer, BridgeServer]
) -> None:
    task = (await gateways[0].ask()).headers["x-ig3-task"]
    async with bridges[0].connect() as socket:
        await socket.send(type="subscribe", id=1, topic="task", task=task, after=1000)
        error = await socket.until_type("error")
        assert (error["code"], error["task"], error.get("still_subscribed", False)) == ("ahead_of_task", task, False)
        await socket.send(type="subscribe", id=2, topic="task", task=task, after=ENDED_AT)
        assert (await socket.until_type("over"))["n"] == ENDED_AT


async def test_a_point_of_a_task_that_is_not_here_starts_nothing(
    mesh: ScriptedMesh, gateways: tuple[HttpGateway, HttpGateway]
) -> None:
    response = await gateways[0].ask({"stream": True}, x_ig3_task=new_task_id(), Last_Event_ID="5")
    assert (response.status, (await response.json())["error"]["code"]) == (404, "task_not_found")
    response = await gateways[0].ask({"stream": True}, Last_Event_ID="5")
    assert (response.status, (await response.json())["error"]["param"]) == (400, "Last-Event-ID")
    response = await gateways[0].ask({"stream": True}, Last_Event_ID="5", Idempotency_Key="k")
    assert (response.status, (await response.json())["error"]["param"]) == (400, "Last-Event-ID")
    assert (await gateways[0].get(f"/v1/tasks/{new_task_id()}/events", Last_Event_ID="5")).status == 404
    assert mesh.submitted == []


async def test_a_point_of_an_expired_task_is_refused(gateways: tuple[HttpGateway, HttpGateway]) -> None:
    old = new_task_id(1_700_000_000_000)
    response = await gateways[0].ask({"stream": True}, x_ig3_task=old, Last_Event_ID="5")
    assert (response.status, (await response.json())["error"]["param"]) == (400, "x-ig3-task")
    assert (await gateways[0].get(f"/v1/tasks/{old}/events", Last_Event_ID="5")).status == 404


async def test_the_client_learns_that_its_point_lies_ahead(mesh: ScriptedMesh) -> None:
    async with await open_client(mesh.user) as client:
        task = (await (await client.submit("m", "hello")).result()).task
        with pytest.raises(TaskRefused, match="lies ahead") as caught:
            async for _ in await client.resume(task, after=1000):
                pass
        assert (caught.value.code, caught.value.status) == ("invalid_value", 400)
        assert [piece async for piece in await client.resume(task, after=ENDED_AT)] == []
