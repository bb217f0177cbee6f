"""The topic ``tasks``: what an account has asked lately, as it stands, then all that happens to it."""

import asyncio

from gateway.bridge import board
from streams import subjects
from streams.codec import encode
from streams.events import TaskSubmitted
from streams.subjects import TaskKey
from streams.tasks.chat import Message
from tests.bridge_server import LIMIT_S, BridgeServer, Frame, Socket
from tests.mesh_in_process import InProcessMesh

ENDLESS = 100_000
"""Tokens of an answer that goes on until it is cancelled, however slow this test is."""


def is_end_of(key: TaskKey):
    def wanted(frame: Frame) -> bool:
        if frame["type"] == "tasks":
            return any(view["task"] == key.task and view["phase"] == "ended" for view in frame["tasks"])
        ends = (item for item in frame.get("events", ()) if item["event"]["type"] == "task.ended.v1")
        return any(item["task"] == key.task for item in ends)

    return wanted


async def told_the_end(client: Socket, key: TaskKey) -> None:
    """Read on until a task's end was told, unless it was already: where something stalls, with the first view."""
    if not any(map(is_end_of(key), client.seen)):
        await client.until(is_end_of(key))


def counters_told(client: Socket, key: TaskKey) -> list[int]:
    """The counters up to which the first view of a task stands, then those of its events."""
    views = [view for frame in client.seen if frame["type"] == "tasks" for view in frame["tasks"]]
    first = next(view for view in views if view["task"] == key.task)
    return [*range(1, first["n"] + 1), *(event["n"] for event in client.events(key.task))]


async def joined(client: Socket) -> list[Frame]:
    await client.send(type="subscribe", id=1, topic="tasks")
    snapshot = await client.until_type("tasks")
    assert snapshot["reset"] is True
    return snapshot["tasks"]


async def test_what_ended_before_is_shown_as_it_stands(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()
    await mesh.add_node()
    key = await mesh.submit(tokens=5, text="What was first?")
    steps = await mesh.steps(key)

    async with asyncio.timeout(LIMIT_S):
        while True:
            # The board reads the log too, a moment behind.
            async with bridge.connect() as client:
                views = await joined(client)
            if views and views[0]["phase"] == "ended":
                break
    [view] = views

    assert view["prompt"] == "What was first?"
    assert (view["model"], view["node"], view["tokens"]) == ("synthetic", "n1", 5)
    assert (view["phase"], view["outcome"], view["n"]) == ("ended", "completed", steps[-1].state.n)


async def test_a_new_task_is_told_with_its_question_then_event_by_event(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()
    await mesh.add_node(delay_ms=10)

    async with bridge.connect() as client:
        assert await joined(client) == []
        key = await mesh.submit(tokens=30, text="And now?")
        new = await client.until(lambda frame: frame["type"] == "tasks")
        await told_the_end(client, key)

    assert [(view["task"], view["prompt"]) for view in new["tasks"]] == [(key.task, "And now?")]
    told = counters_told(client, key)
    assert told == list(range(1, told[-1] + 1))


async def test_a_task_that_runs_already_goes_on_from_its_view(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()
    await mesh.add_node(delay_ms=10)
    key = await mesh.submit(tokens=ENDLESS)

    async with bridge.connect() as early:
        await joined(early)
        await early.until(lambda frame: frame["type"] == "events" and frame["events"][-1]["event"]["n"] >= 10)
        async with bridge.connect("ig3.v1.msgpack") as late:
            [view] = await joined(late)
            await late.until_type("events")
            await early.send(type="cancel", id=2, task=key.task)
            await told_the_end(late, key)
        await told_the_end(early, key)

    last = early.events(key.task)[-1]["n"]
    assert view["n"] >= 10
    assert counters_told(late, key) == counters_told(early, key) == list(range(1, last + 1))


async def test_a_task_that_waits_is_shown_with_position_and_reason(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()

    async with bridge.connect() as client:
        await joined(client)
        await mesh.submit()
        await client.until(lambda frame: "no node serves this model" in str(frame))


async def test_tasks_of_other_accounts_are_not_shown(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()
    await mesh.add_node()

    async with bridge.connect() as client:
        await joined(client)
        foreign = await mesh.submit(mesh.key("somebody"))
        await mesh.steps(foreign)
        own = await mesh.submit()
        await told_the_end(client, own)

    assert foreign.task not in str(client.seen)


async def test_a_submission_that_the_stream_refuses_changes_nothing(mesh: InProcessMesh, bridge: BridgeServer):
    key = await mesh.submit(text="the first")

    async with bridge.connect() as client:
        await joined(client)
        second = TaskSubmitted(model="other", messages=(Message(role="user", content="the second"),))
        mesh.bus.edge.send(subjects.submitted("standard", key), encode(second))
        other = await mesh.submit(text="the third")
        await client.until(lambda frame: other.task in str(frame))
        async with bridge.connect() as late:
            views = await joined(late)

    assert {view["prompt"] for view in views} == {"the first", "the third"}
    assert "the second" not in str(client.seen)


async def test_the_board_keeps_what_is_recent_and_lets_go_of_what_has_ended(mesh: InProcessMesh, bridge: BridgeServer):
    await mesh.add_dispatcher()
    await mesh.add_node(slots=50)
    count = board.SHOWN + 5

    async with bridge.connect() as client:
        await joined(client)
        keys = [await mesh.submit(tokens=1) for _ in range(count)]
        for key in keys:
            await mesh.steps(key)
        last = await mesh.submit(tokens=1)
        await told_the_end(client, last)
        async with bridge.connect() as late:
            views = await joined(late)

    assert board.SHOWN - 1 <= len(views) <= board.SHOWN
    assert views[-1]["task"] == last.task
    assert keys[0].task not in {view["task"] for view in views}
