"""Shard groups on a whole mesh: formed by events, one replica to everybody else, formed again when a member is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import pytest_asyncio

from mesh.config.settings import MeshSettings
from mesh.history.tail import StreamTail
from mesh.identity.link_proof import sign_link
from nodes.engine import DEFAULT_MODEL
from nodes.process import NodeProcess
from nodes.settings import NO_MODEL, NodeSettings
from nodes.shards.certificate import make_certificate
from nodes.shards.settings import ShardSettings
from streams import subjects
from streams.codec import decode, decode_group_event, encode
from streams.groups import subjects as group_subjects
from streams.groups.events import GroupDissolved, GroupEvent, GroupJoined, GroupProposed, GroupReady
from streams.groups.fold import Group
from streams.groups.messages import GroupAnswer, GroupIsOver, GroupIsReady, GroupWanted
from streams.tokens import Token
from streams.topology import GROUPS
from tests.identity_in_process import connect_device, device_did, device_key
from tests.mesh_in_process import InProcessMesh, RunningDispatcher

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.root, pytest.mark.timeout(240)]

MIB = 1 << 20
LIMIT_S = 150.0
LENT = {"member-a": 104 * MIB, "member-b": 80 * MIB}
OWN = 64 * MIB


@dataclass
class Site:
    """A mesh with a leader and two members, all in this process; only llama.cpp has processes of its own."""

    mesh: InProcessMesh
    service: RunningDispatcher
    stops: dict[str, asyncio.Event] = field(default_factory=dict)
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    stored: list[tuple[str, GroupEvent]] = field(default_factory=list)

    def add(self, name: str, shards: ShardSettings) -> None:
        settings = NodeSettings(
            id=name, model=(NO_MODEL,), context=512, threads=1, heartbeat=timedelta(milliseconds=500),
            drain=timedelta(0),
        )  # fmt: skip
        where = MeshSettings(nats=str(self.mesh.server.address), data_dir=self.mesh.folder / name)
        process = NodeProcess(settings, where, lambda _: None, shards)
        self.stops[name] = asyncio.Event()
        self.running[name] = asyncio.create_task(process.run(self.stops[name]))

    async def stop(self, name: str) -> None:
        self.stops.pop(name).set()
        await self.running.pop(name)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not holds():
                assert not any(task.done() for task in self.running.values()), "a node has ended"
                await asyncio.sleep(0.05)

    def on_stored(self, _: int, subject: str, data: bytes) -> None:
        self.stored.append((subject, decode_group_event(data)))

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.service.groups.log.groups.all()

    def ready(self) -> Group | None:
        return next((group for group in self.groups if group.state == "ready"), None)

    async def next_ready(self, before: Group | None = None) -> Group:
        """Wait until another group than ``before`` is ready, and its model is offered."""
        await self.until(lambda: (group := self.ready()) is not None and group != before and self.replicas())
        group = self.ready()
        assert group is not None
        return group

    def replicas(self) -> list[tuple[str, str]]:
        """Who offers the model now, and as what."""
        feed = self.service.feed
        serving = feed.roster.serving(DEFAULT_MODEL, now_s=feed.now_s())
        return [(view.node, replica.tier) for view in serving if (replica := view.replica_of(DEFAULT_MODEL))]

    def events(self, group: Group) -> list[GroupEvent]:
        return [event for subject, event in self.stored if subject == group_subjects.group(group.group)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh")) as mesh:
        site = Site(mesh, await mesh.add_dispatcher(known_models=(DEFAULT_MODEL,)))
        tail = StreamTail(mesh.bus.core, GROUPS, group_subjects.GROUPS_ALL, site.on_stored)
        await tail.start()
        mesh.stack.push_async_callback(tail.stop)
        for name, lent in LENT.items():
            site.add(name, ShardSettings(shard_listen="127.0.0.1:0", shard_memory=lent))
        site.add("leader", ShardSettings(shard_model=DEFAULT_MODEL, shard_memory=OWN))
        await site.next_ready()
        yield site
        for name in ("leader", *LENT):
            if name in site.stops:
                await site.stop(name)


async def test_a_group_is_formed_by_events(site: Site) -> None:
    group = site.ready()
    assert group is not None
    # The log is followed here and by the service: who hears of an event first is nobody's to say.
    await site.until(lambda: any(isinstance(each, GroupReady) for each in site.events(group)))
    proposed, *joined, ready = site.events(group)
    assert isinstance(proposed, GroupProposed)
    assert (proposed.leader, proposed.model) == ("leader", DEFAULT_MODEL)
    assert {each.node for each in joined if isinstance(each, GroupJoined)} == set(LENT)
    assert len({proposed.fingerprint, *(each.fingerprint for each in joined if isinstance(each, GroupJoined))}) == 3
    assert isinstance(ready, GroupReady)
    assert [part.node for part in ready.parts] == ["leader", "member-b", "member-a"]
    assert sum(part.layers for part in ready.parts) == 31
    for part in ready.parts[1:]:
        assert part.memory_bytes < LENT[part.node]
        assert part.rtt_ms is not None
    assert site.replicas() == [("leader", "group")]


async def test_who_is_in_a_group_lends_nothing_more(site: Site) -> None:
    feed = site.service.feed

    def lent() -> list[int]:
        views = [feed.roster.node(Token(name), now_s=feed.now_s()) for name in LENT]
        return [view.status.lends_bytes for view in views if view and view.status]

    await site.until(lambda: lent() == [0, 0])


async def test_a_device_cannot_speak_for_a_group_that_is_not_its_own(site: Site) -> None:
    group = site.ready()
    assert group is not None
    stranger = Token("stranger")
    link = await connect_device(site.mesh.server, stranger)
    forged = make_certificate("leader").der
    mine = sign_link(device_did(stranger), device_key(stranger), stranger, forged)
    theirs = sign_link(device_did(stranger), device_key(stranger), "leader", forged)
    for request, why in (
        (GroupWanted(model="m", memory_bytes=1, identity=theirs), "not signed by this device's key"),
        (GroupWanted(model="m", memory_bytes=1 << 40, identity=mine), "0 nodes lend 0 MiB together"),
        (GroupIsReady(group=group.group, parts=group.parts), "forms no group"),
        (GroupIsOver(group=group.group, reason="mine now"), "is not in a group"),
        (GroupIsOver(group="unknown", reason="-"), "is not in a group"),
    ):
        answer = await link.request(subjects.node_api(stranger, "group"), encode(request))
        said = decode(answer.data, GroupAnswer)
        assert not said.accepted
        assert why in said.reason
    await link.close()
    assert site.ready() == group


async def test_an_operator_dissolves_a_group_and_another_takes_its_place(site: Site) -> None:
    before = site.ready()
    assert before is not None
    log = site.service.groups.log
    await log.append(before.group, GroupDissolved(at_ms=1, by="operator", reason="make room"))
    after = await site.next_ready(before)
    assert after.replaces == before.group
    assert {part.node for part in after.parts} == {"leader", *LENT}


async def test_a_group_is_over_when_its_member_leaves_and_the_others_lend_again(site: Site) -> None:
    before = site.ready()
    assert before is not None
    await site.stop("member-b")
    await site.until(lambda: site.ready() is None and not site.replicas())
    await site.until(lambda: any(isinstance(each, GroupDissolved) for each in site.events(before)))
    ended = site.events(before)[-1]
    assert isinstance(ended, GroupDissolved)
    assert ended.reason == "member-b leaves"
    await site.until(lambda: waits(site, "member-a"))


def waits(site: Site, name: str) -> bool:
    """Whether a node lends all it has."""
    view = site.service.feed.roster.node(Token(name), now_s=site.service.feed.now_s())
    return view is not None and view.status is not None and view.status.lends_bytes == LENT[name]
