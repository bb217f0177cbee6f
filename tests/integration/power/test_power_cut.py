"""What a power cut takes: nothing that was acknowledged with the shipped configuration, much with the server's own.

The second half is what gives the first its meaning: on the same disk, with the same writers and the same cut, a server
that syncs every two minutes loses acknowledged events.
"""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from mesh.broker.credentials import Credentials
from mesh.broker.files import BrokerOptions, Durability
from mesh.broker.server import EmbeddedServer
from mesh.bus.provision import Action, check
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.address import Address
from mesh.config.settings import MeshSettings
from streams.consumers import consumer_specs
from tests.integration.power.writers import Writers, missing
from tests.loop_disk import LoopDisk
from tests.mesh_in_process import InProcessMesh, text_of
from tests.processes import descendants, is_running, wait_until
from tests.running_mesh import IG3, Place, Running

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    with LoopDisk(tmp_path / "disk", size_mib=256) as mounted:
        yield mounted


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_power_cut_with_the_shipped_configuration_loses_nothing_that_was_acknowledged(
    disk: LoopDisk, tmp_path: Path, seed: int
) -> None:
    writers = await write_until(power_cut(disk), disk, tmp_path, seed=seed)
    async with survivor(disk) as bus:
        findings = await check(bus.links, MeshSettings().streams, consumer_specs())
        lost = await missing(bus, writers.noted)
    assert {finding.action for finding in findings} == {Action.SAME}
    assert lost == []


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_same_cut_loses_acknowledged_events_when_the_server_syncs_at_its_own_interval(
    disk: LoopDisk, tmp_path: Path, seed: int
) -> None:
    writers = await write_until(power_cut(disk), disk, tmp_path, seed=seed, durability="process")
    async with survivor(disk) as bus:
        lost = await missing(bus, writers.noted)
    assert len(lost) > 0


async def test_the_crash_alone_loses_nothing_even_then(disk: LoopDisk, tmp_path: Path) -> None:
    writers = await write_until(kill, disk, tmp_path, seed=1, durability="process")
    async with survivor(disk) as bus:
        assert await missing(bus, writers.noted) == []


async def test_a_mesh_goes_on_after_a_power_cut_with_every_task_that_was_acknowledged(
    disk: LoopDisk, tmp_path: Path
) -> None:
    writers = await write_until(power_cut(disk), disk, tmp_path, seed=4)
    async with InProcessMesh(folder=data_on(disk)) as mesh:
        await mesh.add_dispatcher()
        await mesh.add_node(slots=16)
        answers = [text_of(await mesh.steps(key)) for key in writers.submitted]
    assert len(answers) > 0
    assert all(answers)


async def write_until(
    end: Callable[[Running], None], disk: LoopDisk, folder: Path, *, seed: int, durability: Durability = "power"
) -> Writers:
    """Run `ig3 broker` with its data on the disk, write, and end it at a moment that the seed chooses."""
    place = Place(folder=folder / "outside")
    flags = ("--data-dir", str(data_on(disk)), "--durability", durability)
    with Running("broker", [str(IG3), "broker", *flags], place) as broker:
        url = broker.ready().url
        bus = await Bus.connect(bus_options(disk, url))
        writers = Writers(bus=bus, seed=seed, cut=lambda: end(broker))
        await writers.run()
        await bus.close()
    disk.unmount()
    disk.mount()
    return writers


def power_cut(disk: LoopDisk) -> Callable[[Running], None]:
    """Nothing reaches the disk from here on; then the processes end, which hear only I/O errors by now."""

    def cut(broker: Running) -> None:
        disk.cut_power()
        kill(broker)

    return cut


def kill(broker: Running) -> None:
    """End the broker and its server as a crash would, and wait until they are gone."""
    pids = (*descendants(broker.pid), broker.pid)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    broker.process.wait()
    wait_until(lambda: not any(is_running(pid) for pid in pids))


@contextlib.asynccontextmanager
async def survivor(disk: LoopDisk) -> AsyncIterator[Bus]:
    """A fresh server on what the disk holds after the cut; nobody makes the streams again."""
    options = BrokerOptions(data_dir=data_on(disk), listen=Address("127.0.0.1", 0))
    async with EmbeddedServer(options) as server, await Bus.connect(bus_options(disk, server.url)) as bus:
        yield bus


def data_on(disk: LoopDisk) -> Path:
    return disk.path / "data"


def bus_options(disk: LoopDisk, url: str) -> BusOptions:
    credentials = Credentials.load(data_on(disk))
    return BusOptions(
        servers=(url,),
        name="test",
        edge_seed=credentials.edge_service.seed_path,
        core_seed=credentials.core_service.seed_path,
    )
