"""What ``mesh.bus.direct_client`` relies on in nats-py's insides, on a real server."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from msgspec.structs import replace

from mesh.bus.appends import Fence
from mesh.bus.dialing import LinkOptions
from mesh.bus.direct_client import Delivery
from mesh.bus.headers import header, header_block
from mesh.bus.link import Link
from mesh.errors import BusUnavailable, FenceMismatch, NoResponders, PublishRefused, RequestTimedOut, SubjectTaken
from tests.nats_server import NatsServer

LIMIT_S = 20.0


@pytest.fixture
async def link(nats_server: NatsServer) -> AsyncIterator[Link]:
    opened = await Link.connect(options(nats_server))
    yield opened
    await opened.close()


def options(server: NatsServer) -> LinkOptions:
    return LinkOptions(servers=(server.url,), name="t", inbox_prefix="_INBOX.svc.t")


async def make_stream(link: Link, body: bytes) -> None:
    answer = await link.request("$JS.API.STREAM.CREATE.S", body)
    assert b"error" not in answer.data


async def test_messages_arrive_in_order_with_reply_headers_and_any_bytes(link: Link):
    arrived: list[Delivery] = []
    done = asyncio.Event()

    def on_message(delivery: Delivery) -> None:
        arrived.append(delivery)
        if len(arrived) == 1000:
            done.set()

    await link.listen("a.*", on_message)
    for number in range(1000):
        link.send(f"a.{number}", bytes([number % 256]) * number, reply="r.x", headers=header_block(("K", str(number))))
    async with asyncio.timeout(LIMIT_S):
        await done.wait()

    assert [delivery.subject for delivery in arrived] == [f"a.{number}" for number in range(1000)]
    assert arrived[999].data == bytes([999 % 256]) * 999
    assert {delivery.reply for delivery in arrived} == {"r.x"}
    assert header(arrived[7].headers, "k") == "7"


async def test_a_server_that_stands_still_for_a_while_is_waited_for(nats_server: NatsServer):
    usual = timedelta(milliseconds=50)
    os.kill(nats_server.pid, signal.SIGSTOP)
    try:
        connecting = asyncio.create_task(Link.connect(replace(options(nats_server), connect_timeout=usual)))
        await asyncio.wait((connecting,), timeout=4 * usual.total_seconds())
    finally:
        os.kill(nats_server.pid, signal.SIGCONT)
    await (await connecting).close()


async def test_a_handler_that_fails_harms_no_other(link: Link, caplog: pytest.LogCaptureFixture):
    arrived = asyncio.Event()

    def fail(_: Delivery) -> None:
        raise ValueError("on purpose")

    await link.listen("bad", fail)
    await link.listen("good", lambda _: arrived.set())
    with caplog.at_level(logging.CRITICAL, logger="mesh.bus.direct_client"):
        link.send("bad", b"")
        link.send("good", b"")
        async with asyncio.timeout(LIMIT_S):
            await arrived.wait()


async def test_listeners_and_queued_messages_survive_a_restart_of_the_server(link: Link, nats_server: NatsServer):
    arrived: list[bytes] = []
    await link.listen("a", lambda delivery: arrived.append(delivery.data))
    nats_server.restart()
    async with asyncio.timeout(LIMIT_S):
        while b"after" not in arrived:
            link.send("a", b"after")
            await asyncio.sleep(0.05)


async def test_a_closed_listener_hears_nothing(link: Link):
    heard: list[str] = []
    listener = await link.listen("a", lambda _: heard.append("closed"))
    await listener.close()
    done = asyncio.Event()
    await link.listen("a", lambda _: done.set())
    link.send("a", b"")
    async with asyncio.timeout(LIMIT_S):
        await done.wait()
    assert heard == []


async def test_requests_have_their_own_answers_and_clear_failures(link: Link):
    await link.listen("echo", lambda delivery: link.reply_to(delivery, delivery.data))
    await link.listen("silent", lambda _: None)

    answers = await asyncio.gather(*(link.request("echo", str(number).encode()) for number in range(200)))

    assert [answer.data for answer in answers] == [str(number).encode() for number in range(200)]
    with pytest.raises(NoResponders):
        await link.request("nobody", b"")
    with pytest.raises(RequestTimedOut):
        await link.request("silent", b"", timeout=timedelta(milliseconds=300))


async def test_appends_are_fenced_by_the_broker(link: Link):
    await make_stream(link, b'{"name": "S", "subjects": ["s.>"]}')
    first = await link.append("s.t.a", b"1", fence=Fence("s.t.*", 0))
    await link.append("s.t.b", b"2", fence=Fence("s.t.*", first))

    with pytest.raises(FenceMismatch):
        await link.append("s.t.a", b"3", fence=Fence("s.t.*", first))
    with pytest.raises(PublishRefused):
        await link.append("nowhere", b"")


async def test_a_subject_that_takes_one_message_refuses_the_second(link: Link):
    await make_stream(
        link,
        b'{"name": "S", "subjects": ["s.>"], "max_msgs_per_subject": 1, "discard": "new",'
        b' "discard_new_per_subject": true}',
    )
    await link.append("s.t", b"first")
    with pytest.raises(SubjectTaken):
        await link.append("s.t", b"second")


async def test_a_closed_link_fails_what_waits_and_what_comes_after(nats_server: NatsServer):
    link = await Link.connect(options(nats_server))
    await link.listen("silent", lambda _: None)
    waiting = asyncio.create_task(link.request("silent", b""))
    await asyncio.sleep(0)
    await link.close()
    with pytest.raises(BusUnavailable):
        await waiting
    with pytest.raises(BusUnavailable):
        await link.request("silent", b"")


@pytest.mark.parametrize("turns", range(4))
async def test_a_connection_that_was_lost_in_this_moment_can_be_closed(nats_server: NatsServer, turns: int):
    link = await Link.connect(options(nats_server))
    nats_server.kill()
    async with asyncio.timeout(LIMIT_S):
        for _ in iter(lambda: link.client.is_connected, False):
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        await link.close()


async def test_who_closes_a_connection_can_be_cancelled(nats_server: NatsServer):
    link = await Link.connect(options(nats_server))
    closing = asyncio.create_task(link.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await link.close()


async def test_a_server_that_is_silent_for_a_while_is_waited_for_longer_than_one_that_is_not_there(
    nats_server: NatsServer,
):
    os.kill(nats_server.pid, signal.SIGSTOP)
    asyncio.get_running_loop().call_later(0.1, os.kill, nats_server.pid, signal.SIGCONT)
    link = await Link.connect(replace(options(nats_server), connect_timeout=timedelta(milliseconds=1)))
    assert link.is_connected
    await link.close()


async def test_no_server_is_a_clear_error():
    with pytest.raises(BusUnavailable, match=r"cannot reach the bus at nats://127\.0\.0\.1:1"):
        await Link.connect(LinkOptions(servers=("nats://127.0.0.1:1",), name="t", inbox_prefix="_INBOX.svc.t"))
