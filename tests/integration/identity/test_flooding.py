"""A device that sends more than it may is cut off and suspended, and the log says why: on a real broker."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mesh.broker.server import EmbeddedServer
from mesh.bus.link import Link
from mesh.bus.service_bus import Bus
from mesh.errors import BusRefused
from mesh.identity.device_log import DeviceLog
from mesh.identity.traffic import Allowance
from streams import subjects
from streams.devices.fold import Standing
from streams.tokens import Token
from tests.identity_in_process import connect_device, device_login, identity_service
from tests.integration.identity.showing import gets_in, gets_in_soon
from tests.processes import PATIENCE_S, until

MEBIBYTE = 1024 * 1024
LOUD, OTHER = Token("loud"), Token("other")
PIECE = bytes(64 * 1024)


@pytest.fixture
async def service(server: EmbeddedServer, bus: Bus) -> AsyncIterator[None]:
    async with identity_service(server, allowance=Allowance(size_bytes=4 * MEBIBYTE, messages=5000)):
        yield


def send(link: Link, size_bytes: int) -> None:
    """Say so much in the one place where a device may always speak; whoever is cut off meanwhile has said enough."""
    for _ in range(size_bytes // len(PIECE)):
        link.send(subjects.status(LOUD), PIECE)


def suspended(log: DeviceLog, name: Token = LOUD) -> bool:
    device = log.devices.device(name)
    return device is not None and device.standing is Standing.SUSPENDED


async def test_it_is_cut_off_and_suspended_with_the_reason_and_others_go_on(
    server: EmbeddedServer, service: None, log: DeviceLog
) -> None:
    loud, quiet = await connect_device(server, LOUD), await connect_device(server, OTHER)
    cut = asyncio.Event()
    loud.on_return(cut.set)
    send(loud, 6 * MEBIBYTE)
    await until(lambda: suspended(log))
    device = log.devices.device(LOUD)
    assert device is not None
    assert device.by == "identity"
    assert "MiB within a minute, and device_data allows 4 MiB" in device.reason
    await until(lambda: not loud.is_connected)
    assert quiet.is_connected
    assert not await gets_in(server, device_login(LOUD), LOUD)
    await loud.close()
    await quiet.close()


async def test_small_messages_in_great_number_are_too_much_as_well(
    server: EmbeddedServer, service: None, log: DeviceLog
) -> None:
    loud = await connect_device(server, LOUD)
    for _ in range(6000):
        loud.send("results.0.not.its.own", b"")
    await until(lambda: suspended(log))
    device = log.devices.device(LOUD)
    assert device is not None
    assert "messages within a minute, and device_messages allows 5000" in device.reason
    await loud.close()


async def test_to_connect_anew_again_and_again_does_not_help(
    server: EmbeddedServer, service: None, log: DeviceLog
) -> None:
    async def come_and_go() -> None:
        while True:
            loud = await connect_device(server, LOUD)
            send(loud, 1 * MEBIBYTE)
            await loud.close()

    with pytest.raises(BusRefused):
        await asyncio.wait_for(come_and_go(), PATIENCE_S)
    await until(lambda: suspended(log))


async def test_one_that_is_admitted_again_begins_anew(server: EmbeddedServer, service: None, log: DeviceLog) -> None:
    loud, other = await connect_device(server, LOUD), await connect_device(server, OTHER)
    send(loud, 6 * MEBIBYTE)
    await until(lambda: suspended(log))
    await loud.close()
    await log.admit(LOUD, by="test")
    await gets_in_soon(server, device_login(LOUD), LOUD)
    loud = await connect_device(server, LOUD)
    send(loud, 1 * MEBIBYTE)
    await loud.client.flush()
    # A later look suspends another one, and leaves this one as it is.
    send(other, 6 * MEBIBYTE)
    await until(lambda: suspended(log, OTHER))
    assert not suspended(log)
    await loud.close()
    await other.close()
