"""A model split over members that could not hold it alone: the same answer, and what a member's end comes to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from mesh.config.address import Address
from nodes.engine import Engine, EngineLoad, EngineSpec, Generate
from nodes.engines import open_engine
from nodes.engines.llama.model import Offload
from nodes.errors import EngineUnavailable, RequestRefused
from nodes.models.file import find_model
from nodes.shards.certificate import make_certificate
from nodes.shards.group_engine import GroupEngine
from nodes.shards.leader_link import LeaderLink
from nodes.shards.member_link import MemberLink
from nodes.shards.rpc_server import RpcServer
from nodes.shards.split import Capacity, Split, split_model, weights_of
from streams.tasks.chat import Message, Sampling

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.root, pytest.mark.timeout(180)]

SPEC = EngineSpec(engine="llama-cpp-python", context_tokens=512, threads=1)
MIB = 1 << 20
LIMIT_S = 120.0
LENT = {"member-a": 104 * MIB, "member-b": 80 * MIB}
LEADER = Capacity(node="leader", memory_bytes=64 * MIB)
QUESTION = Generate(
    messages=(Message(role="user", content="Why is the sky blue?"),), sampling=Sampling(max_tokens=24, temperature=0)
)


@dataclass
class Group:
    split: Split
    engine: GroupEngine
    servers: dict[str, RpcServer]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def group() -> AsyncIterator[Group]:
    """Two members that lend memory, over real links."""
    async with AsyncExitStack() as stack:
        own = make_certificate(LEADER.node)
        servers: dict[str, RpcServer] = {}
        links: dict[str, LeaderLink] = {}
        for node, lent_bytes in LENT.items():
            server = servers[node] = await RpcServer.start(threads=1, lent_bytes=lent_bytes)
            stack.push_async_callback(server.stop)
            shown = make_certificate(node)
            door = MemberLink(server, shown, own.der)
            stack.push_async_callback(door.close)
            link = links[node] = LeaderLink(await door.open(Address("127.0.0.1", 0)), own, shown.der)
            stack.push_async_callback(link.close)
            await link.open()
        weights = weights_of(find_model(SPEC.model), SPEC.context_tokens)
        split = split_model(weights, LEADER, [Capacity(node=node, memory_bytes=lent) for node, lent in LENT.items()])
        engine = GroupEngine(SPEC, split.offload, [links[part.node] for part in split.parts[1:]], lambda _: None)
        stack.push_async_callback(engine.stop)
        replica = await engine.start()
        assert replica.tier == "group"
        yield Group(split, engine, servers)


async def answer(engine: Engine, request: Generate = QUESTION) -> str:
    async with asyncio.timeout(LIMIT_S):
        return "".join([piece.text async for piece in engine.generate(request)])


def resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


async def test_each_member_holds_a_part_and_none_could_hold_all(group: Group) -> None:
    layers = {part.node: part.layers for part in group.split.parts}
    assert set(layers) == {"leader", *LENT}
    assert min(layers.values()) > 0
    assert sum(layers.values()) == 31, "30 layers and the output"
    for node, lent in LENT.items():
        with pytest.raises(EngineUnavailable, match="does not fit"):
            split_model(
                weights_of(find_model(SPEC.model), SPEC.context_tokens),
                Capacity(node="leader", memory_bytes=0),
                [Capacity(node=node, memory_bytes=lent)],
            )
        limits = Path(f"/proc/{group.servers[node].pid}/limits").read_text().splitlines()
        kept_to = next(int(line.split()[3]) for line in limits if line.startswith("Max data size"))
        assert resident_bytes(group.servers[node].pid) < kept_to, "the kernel would have refused more"


async def test_the_answer_is_that_of_the_whole_model(group: Group) -> None:
    whole = open_engine(SPEC)
    await whole.start()
    expected = await answer(whole)
    await whole.stop()
    assert await answer(group.engine) == expected
    begun = expected.rsplit(" ", 3)[0]
    continued = Generate(messages=QUESTION.messages, sampling=QUESTION.sampling, prefix=begun)
    assert (begun + await answer(group.engine, continued)).startswith(expected)


async def test_an_answer_that_is_dropped_leaves_its_slot(group: Group) -> None:
    long = Generate(messages=QUESTION.messages, sampling=Sampling(max_tokens=400, temperature=0))
    async with asyncio.timeout(LIMIT_S), aclosing(group.engine.generate(long)) as pieces:
        await anext(pieces)
        assert group.engine.load() == EngineLoad(running=1, waiting=0)
    assert group.engine.load() == EngineLoad(running=0, waiting=0)


async def test_a_request_that_no_engine_takes_is_refused_with_its_code(group: Group) -> None:
    endless = Generate(messages=(Message(role="user", content="word " * 600),))
    with pytest.raises(RequestRefused) as refused:
        await answer(group.engine, endless)
    assert refused.value.code == "context_length_exceeded"


async def test_a_member_gives_no_more_memory_than_it_lends_and_survives_being_asked_for_more() -> None:
    async with AsyncExitStack() as stack:
        server = await RpcServer.start(threads=1, lent_bytes=40 * MIB)
        stack.push_async_callback(server.stop)
        own, shown = make_certificate("leader"), make_certificate("member")
        door = MemberLink(server, shown, own.der)
        stack.push_async_callback(door.close)
        link = LeaderLink(await door.open(Address("127.0.0.1", 0)), own, shown.der)
        stack.push_async_callback(link.close)
        greedy = GroupEngine(SPEC, Offload(layers=31, shares=(1.0,)), [link], lambda _: None)
        stack.push_async_callback(greedy.stop)
        with pytest.raises(EngineUnavailable, match="could not load"):
            await greedy.start()
        (await server.connect()).close()


async def test_a_member_that_dies_ends_the_answers_and_the_engine_but_not_this_process(group: Group) -> None:
    long = Generate(messages=QUESTION.messages, sampling=Sampling(max_tokens=400, temperature=0))
    written: list[str] = []

    async def read_and_kill() -> None:
        async for piece in group.engine.generate(long):
            written.append(piece.text)
            if len(written) == 3:
                await group.servers["member-a"].stop()

    with pytest.raises(EngineUnavailable, match="process has ended"):
        await asyncio.wait_for(read_and_kill(), LIMIT_S)
    assert len(written) >= 3
    async with asyncio.timeout(LIMIT_S):
        assert "SIGABRT" in await group.engine.broken()
    with pytest.raises(EngineUnavailable):
        await answer(group.engine)
