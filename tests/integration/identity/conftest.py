"""A broker with the streams of a mesh, without an identity service: each test runs the one that it is about."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mesh.broker.files import BrokerOptions
from mesh.broker.server import EmbeddedServer
from mesh.bus.provision import provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.address import Address
from mesh.identity.device_log import DeviceLog
from streams.devices.fold import Devices
from streams.topology import stream_specs


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    options = BrokerOptions(data_dir=tmp_path / "mesh", listen=Address("127.0.0.1", 0), durability="process")
    async with EmbeddedServer(options) as running:
        yield running


@pytest.fixture
async def bus(server: EmbeddedServer) -> AsyncIterator[Bus]:
    """The services' own connections, which no identity service is asked about."""
    credentials = server.credentials
    options = BusOptions(
        servers=(server.url,),
        name="test",
        edge_seed=credentials.edge_service.seed_path,
        core_seed=credentials.core_service.seed_path,
    )
    async with await Bus.connect(options) as connected:
        await provision(connected.links, stream_specs(), ())
        yield connected


@pytest.fixture
async def log(bus: Bus) -> AsyncIterator[DeviceLog]:
    """What operators decide with."""
    devices = DeviceLog(bus.core)
    await devices.start()
    yield devices
    await devices.stop()


@pytest.fixture
def now(bus: Bus) -> Callable[[], Awaitable[Devices]]:
    """Reads the whole log anew: what everybody believes at this moment."""

    async def read() -> Devices:
        devices = DeviceLog(bus.core)
        await devices.start()
        await devices.stop()
        return devices.devices

    return read
