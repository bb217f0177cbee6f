"""Our shortcuts over nats-py against nats-py itself: appends to a stream, and delivery to a handler."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from mesh.bus.dialing import LinkOptions
from mesh.bus.direct_client import Delivery
from mesh.bus.link import Link
from tests.nats_server import NatsServer

APPENDS = 20_000
IN_FLIGHT = 256
MESSAGES = 100_000
BODY = b"x" * 128
ROUNDS = 3


async def main(url: str) -> None:
    """Run both comparisons, interleaved."""
    link = await Link.connect(LinkOptions(servers=(url,), name="bench", inbox_prefix="_INBOX.svc.bench"))
    client = await nats.connect(url)
    await client.jetstream().add_stream(name="BENCH", subjects=["bench.>"])
    for _ in range(ROUNDS):
        print(f"append, {IN_FLIGHT} in flight:  nats-py {await _nats_py_appends(client):7.0f}/s", end="   ")
        print(f"Link.append {await _link_appends(link):7.0f}/s")
        print(f"delivery of 128 bytes:   nats-py {await _nats_py_delivery(client):7.0f}/s", end="   ")
        print(f"Link.listen {await _link_delivery(link):7.0f}/s")
    await link.close()
    await client.close()


async def _nats_py_appends(client: Client) -> float:
    stream = client.jetstream()
    return await _rate(lambda: stream.publish("bench.a", BODY))


async def _link_appends(link: Link) -> float:
    return await _rate(lambda: link.append("bench.b", BODY))


async def _rate(append: Callable[[], Awaitable[object]]) -> float:
    left = iter(range(APPENDS))

    async def worker() -> None:
        for _ in left:
            await append()

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return APPENDS / (time.perf_counter() - started)


async def _nats_py_delivery(client: Client) -> float:
    arrived, done = 0, asyncio.Event()

    async def on_message(_: Msg) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == MESSAGES:
            done.set()

    subscription = await client.subscribe("plain.a", cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
    started = time.perf_counter()
    for _ in range(MESSAGES):
        await client.publish("plain.a", BODY)
    await done.wait()
    await subscription.unsubscribe()
    return MESSAGES / (time.perf_counter() - started)


async def _link_delivery(link: Link) -> float:
    arrived, done = 0, asyncio.Event()

    def on_message(_: Delivery) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == MESSAGES:
            done.set()

    listener = await link.listen("plain.b", on_message)
    started = time.perf_counter()
    for index in range(MESSAGES):
        link.send("plain.b", BODY)
        if index % 256 == 0:
            await asyncio.sleep(0)
    await done.wait()
    await listener.close()
    return MESSAGES / (time.perf_counter() - started)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, NatsServer(Path(folder)) as server:
        uvloop.run(main(server.url))
