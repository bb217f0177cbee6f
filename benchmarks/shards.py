"""What it costs to split a model: tokens/s and loading, whole against split over one member and over two.

``python -m benchmarks.shards``, with the small model, everything on this machine. Links are the real ones, by loopback,
or by a relay that holds every byte back for half a round trip. All variants take turns, so that noise hits each alike,
and each engine has a process of its own, also that of the whole model.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from mesh.config.address import Address
from nodes.engine import EngineSpec, Generate
from nodes.engines.llama.model import Offload
from nodes.models.file import find_model
from nodes.shards.certificate import make_certificate
from nodes.shards.group_engine import GroupEngine
from nodes.shards.leader_link import LeaderLink
from nodes.shards.member_link import MemberLink
from nodes.shards.rpc_server import RpcServer
from nodes.shards.split import Capacity, split_model, weights_of
from streams.tasks.chat import Message, Sampling

if TYPE_CHECKING:
    from nodes.engine import Engine

_SPEC: Final = EngineSpec(engine="llama-cpp-python", context_tokens=512, threads=1)
_TOKENS: Final = 64
_ROUNDS: Final = 5
_MIB: Final = 1 << 20
_PIECE: Final = 1 << 16


class Variant(NamedTuple):
    """A way to run the model: over members that lend so much each, with so much added to each round trip."""

    name: str
    lent_mib: tuple[int, ...] = ()
    own_mib: int = 0
    delay_ms: float = 0.0


_VARIANTS: Final = (
    Variant("whole"),
    Variant("leader and one member", (104,), 150),
    Variant("leader and two members", (104, 80), 64),
    Variant("the same, 2 ms more for a round trip", (104, 80), 64, 2.0),
    Variant("the same, 20 ms more", (104, 80), 64, 20.0),
)


def main() -> None:
    """Run everything and print it."""
    asyncio.run(_compare())


async def _compare() -> None:
    async with AsyncExitStack() as stack:
        engines: list[tuple[Variant, Engine, float]] = []
        for variant in _VARIANTS:
            began = time.perf_counter()
            engine = await _opened(variant, stack)
            await engine.start()
            engines.append((variant, engine, time.perf_counter() - began))
        speeds: dict[str, list[float]] = {variant.name: [] for variant in _VARIANTS}
        texts: set[str] = set()
        for _ in range(_ROUNDS):
            for variant, engine, _ in engines:
                text, speed = await _timed(engine)
                texts.add(text)
                speeds[variant.name].append(speed)
        for variant, _, start_s in engines:
            median, best = statistics.median(speeds[variant.name]), max(speeds[variant.name])
            click.echo(f"{variant.name:<38} {median:6.1f} tokens/s (best {best:.1f}), up in {start_s:.1f} s")
        click.echo("all answers are the same" if len(texts) == 1 else f"{len(texts)} different answers")


async def _opened(variant: Variant, stack: AsyncExitStack) -> Engine:
    if not variant.lent_mib:
        engine = GroupEngine(_SPEC, Offload(layers=0), (), lambda _: None)
        stack.push_async_callback(engine.stop)
        return engine
    own = make_certificate("leader")
    links: dict[str, LeaderLink] = {}
    members: list[Capacity] = []
    for number, mib in enumerate(variant.lent_mib):
        server = await RpcServer.start(threads=1, lent_bytes=mib * _MIB)
        stack.push_async_callback(server.stop)
        shown = make_certificate(str(number))
        door = MemberLink(server, shown, own.der)
        stack.push_async_callback(door.close)
        address = await door.open(Address("127.0.0.1", 0))
        if variant.delay_ms:
            address = await _far(address, variant.delay_ms / 2000, stack)
        link = links[str(number)] = LeaderLink(address, own, shown.der)
        stack.push_async_callback(link.close)
        speed = await link.open()
        members.append(Capacity(node=str(number), memory_bytes=mib * _MIB, rtt_ms=speed.rtt_ms))
    weights = weights_of(find_model(_SPEC.model), _SPEC.context_tokens)
    split = split_model(weights, Capacity(node="leader", memory_bytes=variant.own_mib * _MIB), members)
    engine = GroupEngine(_SPEC, split.offload, [links[part.node] for part in split.parts[1:]], lambda _: None)
    stack.push_async_callback(engine.stop)
    return engine


async def _timed(engine: Engine) -> tuple[str, float]:
    """Return an answer and the tokens per second behind its first token."""
    asked = Generate(
        messages=(Message(role="user", content="Why is the sky blue?"),),
        sampling=Sampling(max_tokens=_TOKENS, temperature=0),
    )
    text, tokens, began = "", 0, 0.0
    async for piece in engine.generate(asked):
        tokens += piece.tokens if began else 0
        began = began or time.perf_counter()
        text += piece.text
    return text, tokens / (time.perf_counter() - began)


async def _far(address: Address, delay_s: float, stack: AsyncExitStack) -> Address:
    """Put a relay before an address, which passes everything on so much later."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*address)
        for way in (_late(reader, there_writer, delay_s), _late(there_reader, writer, delay_s)):
            tasks.add(asyncio.create_task(way))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    stack.callback(listening.close)
    stack.callback(lambda: [task.cancel() for task in tasks])
    return Address("127.0.0.1", listening.sockets[0].getsockname()[1])


async def _late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            loop.call_later(delay_s, writer.write, piece)
    loop.call_later(delay_s, writer.close)


if __name__ == "__main__":
    main()
