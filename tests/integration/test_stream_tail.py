"""A stream that a process follows from its start on (``mesh.history.tail``), while the broker stands still."""

import asyncio
import os
import signal
from datetime import timedelta

import pytest

from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.history.tail import StreamTail
from tests.nats_server import NatsServer
from tests.processes import until

IMPATIENT = timedelta(milliseconds=50)


async def test_a_broker_that_stands_still_while_a_process_starts_is_asked_again(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    link = await Link.connect(LinkOptions(servers=(nats_server.url,), name="t", inbox_prefix="_INBOX.svc.t"))
    await link.request("$JS.API.STREAM.CREATE.S", b'{"name": "S", "subjects": ["s"], "allow_direct": true}')
    await link.append("s", b"stored")
    tail = StreamTail(link, "S", "s", lambda sequence, subject, data: read.append(data))
    defaults = Link.collect.__kwdefaults__
    assert defaults is not None
    with monkeypatch.context() as patched:
        patched.setitem(defaults, "timeout", IMPATIENT)
        os.kill(nats_server.pid, signal.SIGSTOP)
        try:
            starting = asyncio.create_task(tail.start())
            await until(lambda: "trying again" in caplog.text)
        finally:
            os.kill(nats_server.pid, signal.SIGCONT)
    await starting
    assert read == [b"stored"]
    await tail.stop()
    await link.close()
