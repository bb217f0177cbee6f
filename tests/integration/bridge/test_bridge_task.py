"""The topic ``task``: one task from any counter, without gap or repeat, whatever dies meanwhile."""

import asyncio
import os
import signal

import pytest

from gateway.bridge.close_codes import STOPPING
from tests.bridge_server import BridgeServer, Frame, serve_bridge
from tests.mesh_in_process import InProcessMesh, text_of

FORMATS = ["ig3.v1.json", "ig3.v1.msgpack"]
ENDLESS = 100_000
"""Tokens of an answer that goes on until it is cancelled, however slow this test is."""


def counters(events: list[dict]) -> list[int]:
    return [event["n"] for event in events]


def has_come_to(n: int):
    """Whether a frame has an event that far on, or there is none to come: pieces are fewer where something stalls."""

    def wanted(frame: Frame) -> bool:
        return frame["type"] == "over" or (frame["type"] == "events" and frame["events"][-1]["event"]["n"] >= n)

    return wanted


def text(events: list[dict]) -> str:
    return "".join(event.get("text", "") for event in events)


@pytest.mark.parametrize("wire", FORMATS)
async def test_a_task_is_told_from_its_first_event_to_its_end(mesh: InProcessMesh, bridge: BridgeServer, wire: str):
    await mesh.add_dispatcher()
    await mesh.add_node(delay_ms=2)
    key = await mesh.submit(tokens=20)

    async with bridge.connect(wire) as client:
        await client.send(type="subscribe", id=7, topic="task", task=key.task)
        assert await client.until_type("subscribed") == {
            "type": "subscribed",
            "id": 7,
            "topic": "task",
            "task": key.task,
        }
        over = await client.until_type("over")

    events = client.events(key.task)
    assert counters(events) == list(range(1, over["n"] + 1))
    assert text(events) == text_of(await mesh.steps(key))
    assert events[0]["type"] == "task.assigned.v1"
    assert events[0]["candidates"][0]["node"] == "n1"
    assert events[-1] == {"type": "task.ended.v1", "n": over["n"], "at_ms": events[-1]["at_ms"], "outcome": "completed"}


@pytest.mark.parametrize("after", [0, 1, 5, 11, 12, 40])
async def test_a_stored_task_is_told_from_any_counter(mesh: InProcessMesh, bridge: BridgeServer, after: int):
    await mesh.add_dispatcher()
    await mesh.add_node()
    key = await mesh.submit(tokens=10)
    whole = [step.state.n for step in await mesh.steps(key)]

    async with bridge.connect() as client:
        await client.send(type="subscribe", id=1, topic="task", task=key.task, after=after)
        last = await client.until(lambda frame: frame["type"] in {"over", "error"})

    assert counters(client.events(key.task)) == [n for n in whole if n > after]
    # How many events an answer has is up to its node; what lies ahead of the last is no counter of it.
    assert last["type"] == ("error" if after > whole[-1] else "over")


async def test_a_dropped_reader_goes_on_at_another_gateway_where_it_stood(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    await mesh.add_node(delay_ms=10)
    key = await mesh.submit(tokens=ENDLESS)

    async with serve_bridge(mesh.bus) as first, first.connect() as client:
        await client.send(type="subscribe", id=1, topic="task", task=key.task)
        await client.until(lambda frame: frame["type"] == "events" and frame["events"][-1]["event"]["n"] >= 10)
        stopping = asyncio.create_task(first.stop())
        assert await client.until_closed() == STOPPING.code
        await stopping
    seen = client.events(key.task)
    async with serve_bridge(mesh.bus) as second, second.connect() as again:
        await again.send(type="subscribe", id=1, topic="task", task=key.task, after=seen[-1]["n"])
        await again.until_type("events")
        await again.send(type="cancel", id=2, task=key.task)
        over = await again.until_type("over")

    assert counters(seen + again.events(key.task)) == list(range(1, over["n"] + 1))
    assert again.events(key.task)[0]["n"] > 10


async def test_many_readers_of_one_task_all_get_the_whole_of_it(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()
    await mesh.add_node(delay_ms=2)
    key = await mesh.submit(tokens=30)

    async def read(wire: str, after: int) -> list[int]:
        async with bridge.connect(wire) as client:
            await client.send(type="subscribe", id=1, topic="task", task=key.task, after=after)
            await client.until_type("over")
        return counters(client.events(key.task))

    async with bridge.connect() as first:
        # A counter that lies ahead of its task is an error: none may be asked for before it is there.
        await first.send(type="subscribe", id=1, topic="task", task=key.task)
        await first.until(has_come_to(10))
    there = counters(first.events(key.task))[-1]
    begins = [min(index, there) for index in range(10)]
    answers = await asyncio.gather(*(read(FORMATS[index % 2], after) for index, after in enumerate(begins)))

    last = answers[0][-1]
    assert answers == [list(range(after + 1, last + 1)) for after in begins]


async def test_a_broker_that_dies_and_comes_back_is_a_pause_not_a_gap(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()
    await mesh.add_node(delay_ms=10)

    async with bridge.connect() as client:
        running = False
        while not running:
            key = await mesh.submit(tokens=80)
            await client.send(type="subscribe", id=1, topic="task", task=key.task)
            # One that a stall has let come to its end is no answer that a broker could die in: then the next.
            running = (await client.until(has_come_to(10)))["type"] != "over"
        killed = mesh.server.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        over = await client.until_type("over")

    assert counters(client.events(key.task)) == list(range(1, over["n"] + 1))


async def test_cancel_answers_with_how_the_task_ended(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()
    await mesh.add_node(delay_ms=10)
    key = await mesh.submit(tokens=ENDLESS)

    async with bridge.connect() as client:
        await client.send(type="subscribe", id=1, topic="task", task=key.task)
        await client.until_type("events")
        await client.send(type="cancel", id=2, task=key.task, reason="enough")
        answer = await client.until_type("cancelled")
        await client.send(type="cancel", id=3, task=mesh.key().task)
        unknown = await client.until(lambda frame: frame.get("id") == 3)

    assert answer == {"type": "cancelled", "id": 2, "task": key.task, "outcome": "cancelled"}
    assert unknown["outcome"] == "unknown"


async def test_a_task_of_another_account_does_not_exist_here(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()
    await mesh.add_node()
    foreign = await mesh.submit(mesh.key("somebody"), tokens=3)
    await mesh.steps(foreign)

    async with bridge.connect() as client:
        await client.send(type="subscribe", id=1, topic="task", task=foreign.task)
        refusal = await client.until_type("error")

    assert (refusal["code"], refusal["id"], refusal["task"]) == ("task_not_found", 1, foreign.task)


async def test_unsubscribe_ends_it_and_leaves_room_to_come_back(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()
    await mesh.add_node(delay_ms=10)
    key = await mesh.submit(tokens=ENDLESS)

    async with bridge.connect() as client:
        await client.send(type="subscribe", id=1, topic="task", task=key.task)
        await client.until_type("events")
        await client.send(type="unsubscribe", id=2, topic="task", task=key.task)
        await client.until_type("unsubscribed")
        after = client.events(key.task)[-1]["n"]
        await client.send(type="subscribe", id=3, topic="task", task=key.task, after=after)
        await client.until_type("events")
        await client.send(type="cancel", id=4, task=key.task)
        over = await client.until_type("over")

    assert counters(client.events(key.task)) == list(range(1, over["n"] + 1))
