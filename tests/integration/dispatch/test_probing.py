"""What a node announces is tried before anything is placed there; and a node id has one process."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.roster.probing import Probing
from mesh.bus.direct_client import Delivery
from mesh.errors import RequestTimedOut
from mesh.history.stream_facts import last_message, message_range, stream_facts
from nodes.attempts.worker import Worker
from nodes.engine import EngineSpec, Generate, Piece
from nodes.engines import open_engine
from nodes.engines.synthetic.engine import SyntheticEngine
from nodes.errors import EngineError, NodeIdTaken
from nodes.models.loaded import Served
from nodes.presence.announce import Announcer
from nodes.presence.probe_answers import ProbeAnswers
from streams import subjects
from streams.codec import decode, decode_model_event, encode
from streams.devices.replica import Replica
from streams.events import ModelAnnounced, ModelRefused
from streams.messages import Announce, Announced
from streams.tokens import Token
from streams.topology import DEVICES, MODELS
from tests.identity_in_process import connect_device
from tests.mesh_in_process import LIMIT_S, InProcessMesh, RunningDispatcher
from tests.processes import until

NODE = Token("n1")
NOBODY = Replica(model="ghost", engine="synthetic", context_tokens=64, slots=1)


class _Broken(SyntheticEngine):
    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        raise EngineError("out of order")
        yield Piece(text="")  # what makes this a generator


@pytest.fixture
async def mesh(tmp_path: Path):
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        yield mesh


async def announce(mesh: InProcessMesh, name: Token, *replicas: Replica, process: str = "") -> Announced:
    link = await connect_device(mesh.server, name)
    words = encode(Announce(software="test", replicas=replicas, process=process))
    answer = await link.request(subjects.node_api(name, "announce"), words, timeout=timedelta(seconds=LIMIT_S))
    await link.close()
    return decode(answer.data, Announced)


async def events_of(mesh: InProcessMesh) -> list[object]:
    facts = await stream_facts(mesh.bus.core, MODELS)
    found = await message_range(mesh.bus.core, MODELS, 1, max(1, facts.messages))
    return [decode_model_event(message.data) for message in found] if facts.messages else []


async def test_a_model_that_cannot_generate_is_refused_with_an_event_and_the_others_are_taken(mesh: InProcessMesh):
    dispatcher = await mesh.add_dispatcher()
    link = await connect_device(mesh.server, NODE)
    good = open_engine(EngineSpec(engine="synthetic", model_id="good"))
    bad = _Broken(EngineSpec(engine="synthetic", model_id="bad"), lambda _: None)
    worker = Worker(link, NODE, [Served(good, await good.start()), Served(bad, await bad.start())])
    await ProbeAnswers(link, NODE, worker).listen()
    words = encode(Announce(software="test", replicas=worker.replicas))
    answers = [
        decode((await link.request(subjects.node_api(NODE, "announce"), words)).data, Announced) for _ in range(2)
    ]
    reason = "asked a small question, it says: out of order"
    assert answers == [Announced(accepted=True, refused=(f"bad: {reason}",))] * 2
    events = await events_of(mesh)
    # The second time nothing is new: a node that comes again and again fills no log.
    assert [(type(event), getattr(event, "reason", "")) for event in events] == [
        (ModelAnnounced, ""),
        (ModelRefused, reason),
    ]
    view = dispatcher.feed.roster.node(NODE, now_s=dispatcher.feed.now_s())
    assert view is not None
    assert [replica.model for replica in view.replicas] == ["good"]
    assert not dispatcher.feed.roster.knows("bad")
    await link.close()


async def test_a_model_that_worked_and_does_so_no_more_is_taken_away(mesh: InProcessMesh):
    dispatcher = await mesh.add_dispatcher()
    node = await mesh.add_node("n1")
    (replica,) = node.worker.replicas
    await node.vanish()
    changed = Replica(model=replica.model, engine="synthetic", context_tokens=77, slots=1)
    answer = await announce(mesh, NODE, changed)
    assert "does not listen for the question" in answer.refused[0]
    assert isinstance((await events_of(mesh))[-1], ModelRefused)
    view = dispatcher.feed.roster.node(NODE, now_s=dispatcher.feed.now_s())
    assert view is not None
    assert view.replicas == ()


async def test_what_is_known_is_not_tried_again(mesh: InProcessMesh):
    await mesh.add_dispatcher()
    node = await mesh.add_node("n1")
    probes: list[object] = []
    await node.link.listen(subjects.node_inbox(NODE, "probe"), probes.append)
    words = encode(Announce(software="test", replicas=node.worker.replicas))
    answer = await node.link.request(subjects.node_api(NODE, "announce"), words)
    assert decode(answer.data, Announced) == Announced(accepted=True)
    assert probes == []


async def test_a_node_that_says_nothing_is_given_up_and_asked_once_at_a_time(mesh: InProcessMesh):
    link = await connect_device(mesh.server, NODE)
    asked: list[bytes] = []
    await link.listen(subjects.node_inbox(NODE, "probe"), lambda delivery: asked.append(delivery.data))
    await link.client.flush()
    await link.client.flush()
    probing = Probing(mesh.bus.edge, timedelta(milliseconds=400))
    both = await asyncio.gather(*(probing.objection_to(NODE, NOBODY) for _ in range(2)))
    assert both == ["it did not answer a small question within 0 s"] * 2
    # What comes behind the questions is heard behind them.
    mesh.bus.edge.send(subjects.node_inbox(NODE, "probe"), b"the last")
    await until(lambda: asked[-1:] == [b"the last"])
    assert len(asked) == 2
    await link.listen(subjects.node_inbox(Token("n1"), "probe"), lambda probe: link.reply_to(probe, b"\xc1"))
    await link.client.flush()
    await link.client.flush()
    assert "cannot be read" in str(await Probing(mesh.bus.edge).objection_to(NODE, NOBODY))
    await link.close()


async def test_a_node_is_asked_for_a_model_that_it_does_not_have(mesh: InProcessMesh):
    link = await connect_device(mesh.server, NODE)
    await ProbeAnswers(link, NODE, Worker(link, NODE, [])).listen()
    await link.client.flush()
    await link.client.flush()
    assert "does not serve the model" in str(await Probing(mesh.bus.edge).objection_to(NODE, NOBODY))
    await link.close()


async def test_of_two_processes_with_one_id_the_second_is_refused_and_ends(mesh: InProcessMesh):
    dispatcher = await mesh.add_dispatcher()
    first = await mesh.add_node("n1")
    link = await connect_device(mesh.server, NODE)
    second = Announcer(link, NODE, first.worker.replicas, process="another")
    with pytest.raises(NodeIdTaken, match="another process serves as node 'n1': stop it, or give this node another"):
        async with asyncio.timeout(LIMIT_S):
            await second.run()
    await link.close()
    view = dispatcher.feed.roster.node(NODE, now_s=dispatcher.feed.now_s())
    assert view is not None
    assert view.is_live
    key = await mesh.submit(tokens=3)
    assert (await mesh.steps(key))[-1].state.outcome == "completed"
    last = await last_message(mesh.bus.core, MODELS)
    assert last is not None
    assert isinstance(decode_model_event(last.data), ModelAnnounced)


async def test_a_node_that_was_killed_comes_back_under_its_id(mesh: InProcessMesh):
    dispatcher = await mesh.add_dispatcher()
    first = await mesh.add_node("n1", interval_s=60)
    await first.vanish()
    again = await mesh.add_node("n1")
    assert (await mesh.steps(await mesh.submit(tokens=3)))[-1].state.outcome == "completed"
    answer = await announce(mesh, NODE, *again.worker.replicas, process=again.status.process)
    assert answer.accepted
    view = dispatcher.feed.roster.node(NODE, now_s=dispatcher.feed.now_s())
    assert view is not None
    assert view.status is not None
    assert view.status.process == again.status.process


async def test_a_silent_node_is_served_no_more_and_comes_back_under_its_id(mesh: InProcessMesh):
    dispatcher = await mesh.add_dispatcher()
    node = await mesh.add_node("n1", interval_s=0.1)
    feed = dispatcher.feed

    async def until_served(nodes: tuple[str, ...]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while True:
                view = feed.roster.model("synthetic", now_s=feed.now_s())
                if (() if view is None else view.nodes) == nodes:
                    return
                await asyncio.sleep(0.02)

    await until_served(("n1",))
    node.status.stop()
    await until_served(())
    await node.status.start()
    await until_served(("n1",))
    facts = await stream_facts(mesh.bus.core, DEVICES)
    kinds = [message.subject for message in await message_range(mesh.bus.core, DEVICES, 1, facts.messages)]
    assert kinds.count("devices.n1.registered") == 1


async def test_a_node_that_left_while_the_broker_was_held_up_is_looked_for_again(
    mesh: InProcessMesh, monkeypatch: pytest.MonkeyPatch
):
    dispatcher = await mesh.add_dispatcher()
    # So long that its silence tells nothing in this test.
    node = await mesh.add_node(NODE, interval_s=600)
    looked: list[str] = []
    ask = dispatcher.bus.edge.request

    async def held_up_once(subject: str, data: bytes, **options: Any) -> Delivery:
        looked.append(subject)
        if len(looked) == 1:
            raise RequestTimedOut("no answer in time")
        return await ask(subject, data, **options)

    monkeypatch.setattr(dispatcher.bus.edge, "request", held_up_once)
    await node.vanish()
    await until(lambda: is_lost(dispatcher))
    assert looked == [subjects.node_inbox(NODE, "report")] * 2


def is_lost(dispatcher: RunningDispatcher) -> bool:
    view = dispatcher.feed.roster.node(NODE, now_s=dispatcher.feed.now_s())
    return view is not None and view.is_lost
