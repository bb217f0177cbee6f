"""Opening a connection: who gives up is not held by a client that does not."""

import asyncio
from datetime import timedelta

import pytest
from nats.aio.client import Srv

from mesh.bus.dialing import LinkOptions, dial
from mesh.bus.direct_client import DirectClient
from mesh.errors import BusUnavailable

OPTIONS = LinkOptions(
    servers=("nats://127.0.0.1:1",), name="x", inbox_prefix="_INBOX.x", connect_timeout=timedelta(milliseconds=1)
)


class Stubborn(DirectClient):
    """Loses a cancellation that comes together with what it waits for, as whoever waits by `asyncio.wait_for` does."""

    lost = 0

    async def _connect_to_server(self, s: Srv) -> None:
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
