"""Opening a connection: who gives up is not held by a client that does not, and what comes too late is no refusal."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from msgspec.structs import replace
from nats.aio.client import Srv

from mesh.bus import dialing
from mesh.bus.dialing import LinkOptions, dial
from mesh.bus.direct_client import DirectClient
from mesh.client.key_login import KeyLogin
from mesh.errors import BusRefused, BusUnavailable, BusUndecided

OPTIONS = LinkOptions(
    servers=("nats://127.0.0.1:1",), name="x", inbox_prefix="_INBOX.x", connect_timeout=timedelta(milliseconds=1)
)


class Stubborn(DirectClient):
    """Loses a cancellation that comes together with what it waits for, as whoever waits by `asyncio.wait_for` does."""

    lost = 0

    async def _connect_to_server(self, s: Srv) -> None:
        await self._error_cb(ConnectionRefusedError())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.lost:
                raise
            self.lost += 1
            raise ConnectionResetError from None


async def test_who_dials_is_told_in_time_though_a_cancellation_was_lost() -> None:
    client = Stubborn()
    async with asyncio.timeout(30):
        with pytest.raises(BusUnavailable, match="cannot reach the bus"):
            await dial(client, OPTIONS)
    assert client.lost == 1


@asynccontextmanager
async def played(handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A broker that does what a test says; none of its connections is left."""
    running: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        finally:
            writer.transport.abort()

    def on_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.append(asyncio.create_task(serve(reader, writer)))

    async with await asyncio.start_server(on_call, "127.0.0.1", 0) as server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    # One turn each for a call that has just come, for what it begins, and for the end of its connection.
    for _ in range(5):
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.sleep(0)


@asynccontextmanager
async def turning_away(pause_s: float) -> AsyncIterator[LinkOptions]:
    """A broker that lets nobody in, and says so after a while."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO %s\r\n" % json.dumps({"auth_required": True, "nonce": "n", "headers": True}).encode())
        await reader.readline()
        await asyncio.sleep(pause_s)
        writer.write(b"-ERR 'Authorization Violation'\r\n")
        await reader.read()

    async with played(refuse) as url:
        yield replace(OPTIONS, servers=(url,), login=KeyLogin("ig3_k"), connect_timeout=timedelta(seconds=30))


async def test_a_refusal_that_comes_when_the_broker_gives_up_waiting_for_a_decision_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with turning_away(0) as options:
        with pytest.raises(BusRefused):
            await dial(DirectClient(), options)
    monkeypatch.setattr(dialing, "_VERDICT_WITHIN_S", 0.05)
    async with turning_away(0.1) as options:
        with pytest.raises(BusUndecided):
            await dial(DirectClient(), replace(options, connect_timeout=timedelta(seconds=0.5)))


async def test_a_broker_that_hangs_up_on_who_stood_still_is_called_again_however_late_that_is() -> None:
    calls: list[str] = []

    async def hang_up_at_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append("call")
        writer.write(b"INFO {}\r\n")
        await reader.readline()
        if len(calls) > 1:
            writer.write(b"PONG\r\n")
            await reader.read()

    client = DirectClient()
    async with played(hang_up_at_first) as url:
        await dial(client, replace(OPTIONS, servers=(url,), connect_timeout=timedelta(seconds=0.1)))
        await client.leave()
    assert len(calls) > 1
