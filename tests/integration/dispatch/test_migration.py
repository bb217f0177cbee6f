"""A node that dies, hangs or refuses: the task goes on elsewhere, with no gap and no repeat, or dies in good order."""

import asyncio
import json
from datetime import timedelta
from typing import Literal

import pytest

from gateway.dispatcher.ending import stored_end
from mesh.bus.answer import Step, follow
from mesh.bus.work import Work, WorkQueue
from nodes.engines.synthetic.engine import SyntheticEngine
from streams import subjects
from streams.clock import now_ms
from streams.codec import decode, decode_dead_event, encode
from streams.consumers import consumer_name
from streams.events import DeadKept, TaskAssigned, TaskDead, TaskError, TaskFailed, TaskHalted, TaskRequeued
from streams.messages import Cancel, CancelOutcome, NodeStatus
from streams.subjects import MESH, TaskKey
from streams.tasks.answer_parts import joined_calls
from streams.tasks.tools import Function, Tools
from streams.topology import DEAD, TASKS
from tests.mesh_in_process import LIMIT_S, InProcessMesh, RunningNode, call_pieces_of, text_of

MODEL = "synthetic"
LONG = timedelta(minutes=5)


def assignments(steps: list[Step]) -> list[TaskAssigned]:
    return [step.event for step in steps if isinstance(step.event, TaskAssigned)]


def failures(steps: list[Step]) -> list[TaskRequeued]:
    return [step.event for step in steps if isinstance(step.event, TaskRequeued)]


async def in_log(mesh: InProcessMesh, key: TaskKey, kind: type[TaskAssigned] | type[TaskRequeued], count: int) -> None:
    """Wait until a task has had so many markers of a kind."""
    found = 0
    async with asyncio.timeout(LIMIT_S):
        async for steps in follow(mesh.bus.source, key):
            found += sum(isinstance(step.event, kind) for step in steps)
            if found >= count:
                return


async def taken_and_given_back(mesh: InProcessMesh) -> None:
    """Have the queue's one task handed out once already, as to a dispatcher that died."""
    given_back = asyncio.Event()

    def give_back(work: Work) -> None:
        work.hand_back()
        given_back.set()

    queue = WorkQueue(mesh.bus.edge, TASKS, consumer_name("standard"), give_back, window=1)
    await queue.start()
    async with asyncio.timeout(LIMIT_S):
        await given_back.wait()
    await queue.stop()


async def uninterrupted(mesh: InProcessMesh, tokens: int, text: str = "hello", *, raw: bool = False) -> str:
    return text_of(await mesh.steps(await mesh.submit(tokens=tokens, text=text, raw=raw)))


async def node_of(mesh: InProcessMesh, key: TaskKey, nodes: list[RunningNode], *, tokens: int = 0) -> RunningNode:
    """Wait until so many tokens of a task are stored, or it is begun; returns the node that has it."""
    await mesh.written(key, tokens)
    stored = await mesh.bus.log.read(key)
    last = [event.node for _, _, event in stored if isinstance(event, TaskAssigned)][-1]
    return next(node for node in nodes if node.name == last)


@pytest.mark.parametrize("raw", [False, True], ids=["messages", "raw prompt"])
async def test_a_lost_node_s_answer_goes_on_elsewhere_without_gap_or_repeat(mesh: InProcessMesh, raw: bool) -> None:
    await mesh.add_dispatcher()
    nodes = [await mesh.add_node("n1"), await mesh.add_node("n2")]
    # The engine writes one thing to a message and another behind the same words as they stand.
    whole = await uninterrupted(mesh, 80, raw=raw)
    mesh.pace.hold(5)
    key = await mesh.submit(tokens=80, raw=raw)
    lost = await node_of(mesh, key, nodes, tokens=5)

    await lost.vanish()
    mesh.pace.let_go()
    steps = await mesh.steps(key)

    assert text_of(steps) == whole
    assert [step.state.n for step in steps] == list(range(1, len(steps) + 1))
    state = steps[-1].state
    assert (state.outcome, state.attempt, state.tokens, state.usage and state.usage.completion_tokens) == (
        "completed",
        2,
        80,
        80,
    )
    other = next(node.name for node in nodes if node is not lost)
    assert [share.node for share in state.shares] == [lost.name, other]
    assert [marker.code for marker in failures(steps)] == ["node_lost"]
    assert [marker.seam for marker in assignments(steps)] == [None, "continued"]


def described(*names: str) -> str:
    """A schema whose only value is as long as the descriptions of so many things."""
    long = {"type": "string", "minLength": 400}
    return json.dumps({"type": "object", "properties": dict.fromkeys(names, long), "required": names})


@pytest.mark.parametrize("choice", ["auto", "required"])
async def test_a_node_lost_in_the_middle_of_a_call_leaves_every_character_of_it_once(
    mesh: InProcessMesh, choice: Literal["auto", "required"]
) -> None:
    await mesh.add_dispatcher()
    nodes = [await mesh.add_node("n1"), await mesh.add_node("n2")]
    functions = tuple(Function(name=name, parameters_json=described("a", "b")) for name in ("first", "second"))
    tools = Tools(functions=functions, choice=choice)
    asked = {"tokens": 10_000, "text": "the first, then the second", "tools": tools}
    before = await mesh.steps(await mesh.submit(**asked))
    whole = joined_calls(call_pieces_of(before))
    assert [call.name for call in whole] == ["first", "second"]
    mesh.pace.hold(20)
    key = await mesh.submit(**asked)
    # What makes no chunk of its own is not stored yet.
    lost = await node_of(mesh, key, nodes, tokens=12)

    await lost.vanish()
    mesh.pace.let_go()
    steps = await mesh.steps(key)

    pieces = call_pieces_of(steps)
    assert joined_calls(pieces) == whole
    assert [call.name for call in pieces if call.name] == ["first", "second"], "a call is begun once"
    assert text_of(steps) == text_of(before)
    assert bool(text_of(steps)) is (choice == "auto")
    state = steps[-1].state
    assert (state.outcome, state.finish_reason, state.attempt) == ("completed", "tool_calls", 2)
    assert state.tokens == before[-1].state.tokens
    assert state.chars == len(text_of(steps)) + sum(len(call.arguments) for call in whole)
    assert [marker.seam for marker in assignments(steps)] == [None, "replayed"]
    assert all(share.chars for share in state.shares)


async def test_many_answers_of_a_lost_node_all_go_on(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    first = await mesh.add_node("n1", slots=24)
    mesh.pace.hold(3)
    keys = [await mesh.submit(tokens=60, text=f"question {number}") for number in range(24)]
    await asyncio.gather(*(mesh.written(key, 3) for key in keys))
    await mesh.add_node("n2", slots=24)

    await first.vanish()
    mesh.pace.let_go()
    answers = await asyncio.gather(*(mesh.steps(key) for key in keys))

    for number, steps in enumerate(answers):
        assert steps[-1].state.outcome == "completed"
        assert steps[-1].state.tokens == 60
        assert text_of(steps) == await uninterrupted(mesh, 60, f"question {number}")


async def test_a_task_waits_for_a_node_if_its_own_was_the_only_one(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    only = await mesh.add_node("n1")
    whole = await uninterrupted(mesh, 50)
    mesh.pace.hold(5)
    key = await mesh.submit(tokens=50)
    await mesh.written(key, 5)
    await only.vanish()
    await in_log(mesh, key, TaskRequeued, 1)
    mesh.pace.let_go()

    await mesh.add_node("n2")

    assert text_of(await mesh.steps(key)) == whole


async def test_a_task_that_loses_node_after_node_is_dead_and_kept(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher(max_lost_nodes=2)
    nodes = [await mesh.add_node(name, delay_ms=20) for name in ("n1", "n2", "n3")]
    key = await mesh.submit(tokens=100_000)
    first = await node_of(mesh, key, nodes, tokens=2)
    await first.vanish()
    await in_log(mesh, key, TaskAssigned, 2)
    second = await node_of(mesh, key, nodes)
    await second.vanish()
    steps = await mesh.steps(key)

    assert steps[-1].state.outcome == "dead"
    assert steps[-1].state.error is not None
    assert steps[-1].state.error.code == "attempts_exhausted"
    end = await stored_end(mesh.bus, key)
    assert isinstance(end, TaskDead)
    assert [failure.node for failure in end.failures] == [first.name, second.name]
    assert sum(share.chars for share in end.shares) == len(text_of(steps))
    kept = await mesh.bus.core.request(f"$JS.API.DIRECT.GET.{DEAD}.{subjects.dead(key)}", b"")
    assert decode_dead_event(kept.data) == DeadKept(at_ms=end.at_ms, model=MODEL, error=end.error)
    await mesh.all_acknowledged("standard")


async def test_a_cancel_wins_over_the_next_attempt(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher(retry_pause=LONG)
    nodes = [await mesh.add_node("n1", delay_ms=10), await mesh.add_node("n2", delay_ms=10)]
    key = await mesh.submit(tokens=100_000)
    await (await node_of(mesh, key, nodes, tokens=2)).vanish()
    await in_log(mesh, key, TaskRequeued, 1)

    reply = await mesh.bus.core.request(subjects.user_api(key.account, "cancel"), encode(Cancel(task=key.task)))

    assert decode(reply.data, CancelOutcome).outcome == "cancelled"
    assert len(assignments(await mesh.steps(key))) == 1


async def test_a_deadline_wins_over_the_next_attempt(mesh: InProcessMesh) -> None:
    dispatcher = (await mesh.add_dispatcher(retry_pause=LONG)).dispatcher
    nodes = [await mesh.add_node("n1", delay_ms=10), await mesh.add_node("n2", delay_ms=10)]
    key = await mesh.submit(tokens=100_000)
    await (await node_of(mesh, key, nodes, tokens=2)).vanish()
    await in_log(mesh, key, TaskRequeued, 1)

    dispatcher.lives[key].deadline_at_ms = now_ms()
    steps = await mesh.steps(key)

    assert (steps[-1].state.outcome, len(assignments(steps))) == ("failed", 1)
    assert steps[-1].state.error is not None
    assert steps[-1].state.error.code == "deadline_exceeded"


async def test_the_next_dispatcher_knows_what_failed_before_it(mesh: InProcessMesh) -> None:
    first = await mesh.add_dispatcher("d1", retry_pause=LONG)
    nodes = [await mesh.add_node("n1"), await mesh.add_node("n2")]
    mesh.pace.hold(5)
    key = await mesh.submit(tokens=40)
    lost = await node_of(mesh, key, nodes, tokens=5)
    await lost.vanish()
    await in_log(mesh, key, TaskRequeued, 1)

    await first.vanish()
    await mesh.add_dispatcher("d2")
    mesh.pace.let_go()
    steps = await mesh.steps(key)

    assert steps[-1].state.outcome == "completed"
    assert [failure.node for failure in steps[-1].state.failures] == [lost.name]
    assert [marker.node for marker in assignments(steps)][-1] != lost.name


async def test_a_halted_task_ends_as_was_intended_when_its_dispatcher_died(mesh: InProcessMesh) -> None:
    key, error = mesh.key(), TaskError(code="deadline_exceeded", message="Too late.", status=504)
    markers = (
        TaskAssigned(n=1, at_ms=0, attempt=1, node="n1", policy="p"),
        TaskHalted(n=2, at_ms=0, reason="deadline_exceeded", error=error),
    )
    for marker in markers:
        await mesh.bus.edge.append(subjects.result(key, MESH), encode(marker))
    await mesh.submit(key, tokens=5)
    await taken_and_given_back(mesh)

    await mesh.add_dispatcher()
    steps = await mesh.steps(key)

    end = await stored_end(mesh.bus, key)
    assert isinstance(end, TaskFailed)
    assert end.error == error
    assert [step.state.n for step in steps] == [1, 2, 3]


async def test_an_engine_that_cannot_go_on_from_a_text_writes_it_anew_out_of_sight(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    first = await mesh.add_node("n1")
    whole = await uninterrupted(mesh, 50)
    mesh.pace.hold(5)
    key = await mesh.submit(tokens=50)
    await mesh.written(key, 5)
    await mesh.add_node("n2", synthetic="replays")

    await first.vanish()
    mesh.pace.let_go()
    steps = await mesh.steps(key)

    assert text_of(steps) == whole
    assert [marker.seam for marker in assignments(steps)] == [None, "replayed"]
    assert steps[-1].state.usage is not None
    assert steps[-1].state.usage.completion_tokens == 50


async def test_an_engine_that_cannot_go_on_this_once_writes_the_answer_anew_before_it_begins_again_for_all_to_see(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It announces that it can go on from a text, but not under what this request asks for."""
    monkeypatch.setattr(SyntheticEngine, "can_continue", lambda *_: False)
    await mesh.add_dispatcher()
    first = await mesh.add_node("n1")
    whole = await uninterrupted(mesh, 50)
    mesh.pace.hold(5)
    key = await mesh.submit(tokens=50)
    await mesh.written(key, 5)
    await mesh.add_node("n2")

    await first.vanish()
    mesh.pace.let_go()
    steps = await mesh.steps(key)

    assert text_of(steps) == whole
    assert [marker.seam for marker in assignments(steps)] == [None, "continued", "replayed"]
    assert [marker.code for marker in failures(steps)] == ["node_lost", "cannot_continue"]


async def test_an_engine_that_cannot_repeat_the_text_begins_again_and_says_so(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    first = await mesh.add_node("n1")
    mesh.pace.hold(5)
    key = await mesh.submit(tokens=50)
    await mesh.written(key, 5)
    await mesh.add_node("n2", synthetic="varies")

    await first.vanish()
    mesh.pace.let_go()
    steps = await mesh.steps(key)

    state = steps[-1].state
    assert [marker.seam for marker in assignments(steps)] == [None, "replayed", "restarted"]
    assert [marker.code for marker in failures(steps)] == ["node_lost", "cannot_continue"]
    assert (state.outcome, state.tokens) == ("completed", 50)
    assert [share.tokens for share in state.shares] == [0, 0, 50]


async def test_engines_that_go_on_from_a_text_are_preferred_where_one_is_begun(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    first = await mesh.add_node("n1")
    mesh.pace.hold(5)
    key = await mesh.submit(tokens=50)
    await mesh.written(key, 5)
    await mesh.add_node("n2", synthetic="varies", slots=16)
    await mesh.add_node("n3", slots=1)

    await first.vanish()
    mesh.pace.let_go()
    steps = await mesh.steps(key)

    assert [(marker.node, marker.seam) for marker in assignments(steps)] == [("n1", None), ("n3", "continued")]


async def test_an_attempt_that_stands_still_is_given_to_another_node(mesh: InProcessMesh) -> None:
    # Longer than a broker may hang before it counts as not heard, so that the other node is not given up for that.
    await mesh.add_dispatcher(stall=timedelta(seconds=2))
    stuck = await mesh.add_node("n1", delay_ms=600_000)
    key = await mesh.submit(tokens=30)
    await mesh.reached(key, 1)
    await mesh.add_node("n2")

    steps = await mesh.steps(key)

    assert steps[-1].state.outcome == "completed"
    assert [(marker.node, marker.code) for marker in failures(steps)] == [(stuck.name, "node_stalled")]


async def test_tasks_that_lost_their_nodes_run_apart_and_keep_nobody_waiting(mesh: InProcessMesh) -> None:
    """Four tasks share a node that is lost: with one more loss each would be dead, and only one could be to blame."""
    await mesh.add_dispatcher(max_lost_nodes=2)
    first = await mesh.add_node("n1")
    mesh.pace.hold(5)
    suspects = [await mesh.submit(tokens=40) for _ in range(4)]
    await asyncio.gather(*(mesh.written(key, 5) for key in suspects))
    await first.vanish()
    await asyncio.gather(*(in_log(mesh, key, TaskRequeued, 1) for key in suspects))
    await mesh.add_node("n2", slots=8)
    other = await mesh.submit(tokens=5)

    assert (await mesh.steps(other))[-1].state.outcome == "completed"
    mesh.pace.let_go()
    for key in suspects:
        assert (await mesh.steps(key))[-1].state.outcome == "completed"


async def test_a_node_that_was_started_again_has_forgotten_its_tasks(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    node = await mesh.add_node("n1")
    mesh.pace.hold(5)
    key = await mesh.submit(tokens=200)
    await mesh.written(key, 5)
    # As a quick supervisor does it: nobody notices that there was no node for a moment.
    node.status.stop()
    again = encode(NodeStatus(at_ms=now_ms(), interval_s=0.4, process="another"))
    node.link.send(subjects.status(node.name), again)
    await in_log(mesh, key, TaskRequeued, 1)
    await node.status.start()
    mesh.pace.let_go()

    steps = await mesh.steps(key)

    assert steps[-1].state.outcome == "completed"
    assert steps[-1].state.tokens == 200
    assert next(marker.code for marker in failures(steps)) == "node_lost"
