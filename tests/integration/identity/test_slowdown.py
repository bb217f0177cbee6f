"""A host whose connections are refused again and again is not looked at for a while; its admitted devices are."""

import pytest

from mesh.broker.server import EmbeddedServer
from mesh.bus.service_bus import Bus
from mesh.identity.device_log import DeviceLog
from mesh.identity.slowdown import Patience
from streams.tokens import Token
from tests.identity_in_process import device_key, device_login, identity_service
from tests.integration.identity.showing import NODE, gets_in

STRICT = Patience(free=3, forgiven_per_s=0.001, first_s=60, longest_s=60)


async def test_strangers_wait_and_admitted_devices_of_the_same_host_do_not(
    server: EmbeddedServer, bus: Bus, log: DeviceLog, caplog: pytest.LogCaptureFixture
) -> None:
    newcomer = Token("n2")
    async with identity_service(server, patience=STRICT):
        assert await gets_in(server, device_login(NODE))
        for _ in range(4):
            assert not await gets_in(server, device_login(NODE, key=device_key("a thief's")))
        assert "was refused too often" in caplog.text
        # Everybody with a DID would be let in, and this one is not even looked at.
        assert not await gets_in(server, device_login(newcomer), newcomer)
        await log.catch_up()
        assert log.devices.device(newcomer) is None
        assert await gets_in(server, device_login(NODE))
        # To say that one is that device does not help: it has to be proved all the same.
        assert not await gets_in(server, device_login(NODE, key=device_key("a thief's")))
    async with identity_service(server):
        assert await gets_in(server, device_login(newcomer), newcomer)


async def test_devices_that_connect_rightly_never_wait(server: EmbeddedServer, bus: Bus) -> None:
    async with identity_service(server, patience=STRICT):
        for number in range(STRICT.free + 5):
            name = Token(f"device-{number}")
            assert await gets_in(server, device_login(name), name)
