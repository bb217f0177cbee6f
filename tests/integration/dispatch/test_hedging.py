"""A second node is asked where the first word of an urgent task is late: who is first writes the answer (ADR 18)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

import pytest

from gateway.dispatcher.ending import stored_end
from mesh.bus.answer import Step
from nodes.engine import Generate, Piece
from nodes.engines.synthetic.engine import SyntheticEngine
from streams.clock import now_ms
from streams.codec import encode
from streams.events import TaskAssigned, TaskCompleted, TaskEnded, TaskRequeued
from streams.messages import Cancel
from streams.subjects import TaskKey, user_api
from streams.tasks.placing import Hedge
from tests.mesh_in_process import LIMIT_S, InProcessMesh, RunningNode, text_of

MODEL = "synthetic"
TOKENS = 20
AT_ONCE = {"hedge_share": 1.0, "hedge_after": timedelta(milliseconds=50)}


class Held:
    """A node whose engine says nothing until it is let go."""

    def __init__(self, node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
        self.node = node
        self.name = node.name
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.requests: list[Generate] = []
        engine = node.worker.engine_of(MODEL)
        assert isinstance(engine, SyntheticEngine)
        original = engine.generate

        async def generate(request: Generate) -> AsyncGenerator[Piece, None]:
            self.requests.append(request)
            self.begun.set()
            try:
                await self.go.wait()
                async with aclosing(original(request)) as pieces:
                    async for piece in pieces:
                        yield piece
            finally:
                self.ended.set()

        monkeypatch.setattr(engine, "generate", generate)


class Pair:
    """Two nodes that hold back; ``first`` is the one that got the task."""

    def __init__(self, one: Held, other: Held) -> None:
        self._both = (one, other)

    async def race(self) -> tuple[Held, Held]:
        """Wait until both have begun; returns the one that has the task, then the one that was asked too."""
        async with asyncio.timeout(LIMIT_S):
            for held in self._both:
                await held.begun.wait()
        one, other = self._both
        running = one.node.worker.running() + other.node.worker.running()
        assert sorted(entry.attempt for entry in running) == [1, 2]
        return (one, other) if one.node.worker.running()[0].attempt == 1 else (other, one)


async def pair(mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch, **settings: object) -> Pair:
    chosen: dict[str, object] = AT_ONCE | settings
    await mesh.add_dispatcher("d1", gateway=None, **chosen)
    nodes = [await mesh.add_node(name, delay_ms=5) for name in ("n1", "n2")]
    return Pair(*(Held(node, monkeypatch) for node in nodes))


async def ask(mesh: InProcessMesh) -> TaskKey:
    return await mesh.submit(tokens=TOKENS, service_class="interactive")


def assigned(steps: list[Step]) -> list[TaskAssigned]:
    return [step.event for step in steps if isinstance(step.event, TaskAssigned)]


def whole(steps: list[Step]) -> None:
    """Neither gap nor repeat: every counter once, and as many words as were asked for."""
    state = steps[-1].state
    assert state.outcome == "completed"
    assert [step.state.n for step in steps] == list(range(1, len(steps) + 1))
    assert state.tokens == TOKENS == len(text_of(steps).split())
    assert state.usage is not None
    assert state.usage.completion_tokens == TOKENS


async def hedge_of(mesh: InProcessMesh, key: TaskKey, steps: list[Step]) -> Hedge:
    """What the end says of it, to the ledger and to readers alike."""
    end = await stored_end(mesh.bus, key)
    assert isinstance(end, TaskCompleted)
    assert end.hedge is not None
    marker = steps[-1].event
    assert isinstance(marker, TaskEnded)
    assert marker.hedge == end.hedge
    return end.hedge


async def let_go(held: Held) -> None:
    async with asyncio.timeout(LIMIT_S):
        await held.ended.wait()


async def test_a_second_node_that_is_first_writes_the_answer_and_the_slow_one_is_stopped_and_gets_nothing(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = await pair(mesh, monkeypatch)
    key = await ask(mesh)
    slow, fast = await both.race()

    fast.go.set()
    steps = await mesh.steps(key)

    whole(steps)
    await let_go(slow)
    assert [(marker.node, marker.attempt) for marker in assigned(steps)] == [(slow.name, 1), (fast.name, 2)]
    assert not any(isinstance(step.event, TaskRequeued) for step in steps), "nothing has failed"
    hedge = await hedge_of(mesh, key, steps)
    assert (hedge.beside, hedge.node, hedge.outcome, hedge.samples) == (slow.name, fast.name, "won", 0)
    assert assigned(steps)[-1].hedge == hedge
    earned = [(share.node, share.tokens, share.signed) for share in steps[-1].state.shares]
    assert earned == [(slow.name, 0, False), (fast.name, TOKENS, True)]
    assert len(fast.requests) == 1, "what it had begun out of sight is what it writes"
    await mesh.all_acknowledged("interactive")


async def test_a_first_node_that_is_first_after_all_keeps_the_task_and_nothing_of_the_other_is_seen(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = await pair(mesh, monkeypatch)
    key = await ask(mesh)
    first, second = await both.race()

    first.go.set()
    steps = await mesh.steps(key)

    whole(steps)
    await let_go(second)
    assert [marker.node for marker in assigned(steps)] == [first.name]
    assert [share.node for share in steps[-1].state.shares] == [first.name]
    hedge = await hedge_of(mesh, key, steps)
    assert (hedge.node, hedge.outcome) == (second.name, "lost")
    stored = await mesh.bus.log.read(key)
    assert {writer for _, writer, _ in stored} == {"mesh", first.name}
    # The same node may have the very attempt later that it had begun out of sight.
    second.go.set()
    whole(await mesh.steps(await ask(mesh)))


async def test_a_first_node_that_dies_during_the_race_leaves_the_task_to_the_second(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = await pair(mesh, monkeypatch, retry_pause=timedelta(minutes=5))
    key = await ask(mesh)
    first, second = await both.race()

    await first.node.vanish()
    second.go.set()
    steps = await mesh.steps(key)

    whole(steps)
    assert [marker.node for marker in assigned(steps)] == [first.name, second.name]
    assert len(second.requests) == 1, "it goes on with what it had begun"
    assert (await hedge_of(mesh, key, steps)).outcome == "won"


async def test_a_second_node_that_dies_or_leaves_during_the_race_changes_nothing(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = await pair(mesh, monkeypatch)
    key = await ask(mesh)
    first, second = await both.race()

    async with asyncio.timeout(LIMIT_S):
        await second.node.worker.drain(timedelta(seconds=LIMIT_S))
    first.go.set()
    steps = await mesh.steps(key)

    whole(steps)
    assert [marker.node for marker in assigned(steps)] == [first.name]
    assert (await hedge_of(mesh, key, steps)).outcome == "left"


async def test_a_dispatcher_that_dies_during_the_race_leaves_the_task_with_the_first_node(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = await pair(mesh, monkeypatch)
    key = await ask(mesh)
    first, second = await both.race()

    await mesh.dispatchers[0].vanish()
    await mesh.add_dispatcher("d2")
    second.go.set()
    first.go.set()
    steps = await mesh.steps(key)

    whole(steps)
    await let_go(second)
    assert [marker.node for marker in assigned(steps)] == [first.name]
    assert {writer for _, writer, _ in await mesh.bus.log.read(key)} == {"mesh", first.name}


@pytest.mark.parametrize("ends_by", ["cancel", "deadline"])
async def test_a_task_that_ends_during_the_race_ends_for_both(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch, ends_by: str
) -> None:
    both = await pair(mesh, monkeypatch)
    key = await ask(mesh)
    first, second = await both.race()

    if ends_by == "cancel":
        await mesh.bus.core.request(user_api(key.account, "cancel"), encode(Cancel(task=key.task)))
    else:
        mesh.dispatchers[0].dispatcher.lives[key].deadline_at_ms = now_ms()
    steps = await mesh.steps(key)

    await let_go(first)
    await let_go(second)
    assert steps[-1].state.outcome == ("cancelled" if ends_by == "cancel" else "failed")
    assert [marker.node for marker in assigned(steps)] == [first.name]
    assert not text_of(steps)
