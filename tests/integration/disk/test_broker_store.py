"""A broker whose disk or store is full: what was acknowledged stays, and it takes more as soon as there is room."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.intake.submissions import Submissions
from mesh.broker.files import BrokerOptions
from mesh.broker.server import EmbeddedServer
from mesh.bus.provision import provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.client.client import open_client
from mesh.client.options import ClientOptions
from mesh.config.address import Address
from mesh.errors import PublishUnknown, StoreFull, TaskRefused
from streams import subjects
from streams.consumers import consumer_specs
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import token
from streams.topology import Retention, stream_specs
from tests.http_gateway import serve_http
from tests.http_gateway import until as until_async
from tests.loop_disk import LoopDisk
from tests.processes import until

KIB = 1024
MIB = 1024 * KIB
A_MOMENT = timedelta(seconds=0.5)
"""How long one that cannot write is waited for. One that can has more: it writes to a disk that others use too."""
PATIENCE = timedelta(seconds=20)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    with LoopDisk(tmp_path / "disk", size_mib=96) as mounted:
        yield mounted


@asynccontextmanager
async def broker(
    folder: Path, *, store_limit: int | None = None, retention: Retention | None = None
) -> AsyncIterator[tuple[EmbeddedServer, Bus]]:
    place = BrokerOptions(data_dir=folder, listen=Address("127.0.0.1", 0), store_limit_bytes=store_limit)
    async with EmbeddedServer(place) as server:
        options = BusOptions(
            servers=(server.url,),
            name="test",
            edge_seed=server.credentials.edge_service.seed_path,
            core_seed=server.credentials.core_service.seed_path,
        )
        async with await Bus.connect(options) as bus:
            await provision(bus.links, stream_specs(retention=retention), consumer_specs())
            yield server, bus


async def submit(bus: Bus, size: int = KIB, *, within: timedelta = PATIENCE) -> TaskKey:
    key = TaskKey(token("local"), new_task_id())
    await bus.edge.append(subjects.submitted("standard", key), bytes(size), timeout=within)
    return key


async def submit_for_ever(bus: Bus, size: int) -> None:
    while True:
        await submit(bus, size)


async def is_taken(bus: Bus, size: int = KIB) -> bool:
    try:
        await submit(bus, size, within=A_MOMENT)
    except PublishUnknown:
        return False
    return True


async def stored(bus: Bus, keys: list[TaskKey]) -> list[bool]:
    submissions = Submissions(bus.edge)
    return [await submissions.exists(key) for key in keys]


@pytest.mark.root
async def test_a_server_that_could_not_write_is_started_again_when_there_is_space(disk: LoopDisk) -> None:
    async with broker(disk.path / "data") as (server, bus):
        accepted = [await submit(bus) for _ in range(20)]
        disk.fill()
        with pytest.raises(PublishUnknown):
            await submit(bus, within=A_MOMENT)
        await until(lambda: "no space left on device" in (server.store.shortage or ""))
        assert await stored(bus, accepted) == [True] * 20
        assert server.restarts == 0
        disk.make_room()
        await until_async(lambda: is_taken(bus))
        assert server.restarts == 1
        assert await stored(bus, accepted) == [True] * 20
        await until(lambda: server.store.shortage is None)


@pytest.mark.root
async def test_no_tasks_are_taken_well_before_the_disk_is_full(disk: LoopDisk) -> None:
    async with broker(disk.path / "data") as (server, bus):
        assert server.store.shortage is None
        disk.fill_but(6 * MIB)
        await until(lambda: "MiB left" in (server.store.shortage or ""))
        # Those that run have room to end.
        await submit(bus)
        disk.make_room()
        await until(lambda: server.store.shortage is None)
        assert server.restarts == 0


async def test_a_store_at_its_limit_says_so_and_takes_more_when_something_has_expired(tmp_path: Path) -> None:
    short = Retention(content=timedelta(seconds=3), ends=timedelta(days=1))
    async with broker(tmp_path, store_limit=8 * MIB, retention=short) as (server, bus):
        with pytest.raises(StoreFull, match="store is full"):
            await submit_for_ever(bus, 256 * KIB)
        await until_async(lambda: is_taken(bus, 256 * KIB))
        assert server.restarts == 0


async def test_who_finds_the_store_at_its_limit_is_told_at_once(tmp_path: Path) -> None:
    question = "x" * 128 * KIB
    async with broker(tmp_path, store_limit=8 * MIB) as (server, bus):
        with pytest.raises(StoreFull):
            await submit_for_ever(bus, 128 * KIB)
        async with serve_http(bus) as http:
            refused = await http.ask({"messages": [{"role": "user", "content": question}]})
            assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
            assert (await refused.json())["error"]["code"] == "store_full"
        seed = server.credentials.user.seed_path
        options = ClientOptions(servers=(server.url,), account=token("local"), seed_file=seed)
        async with await open_client(options) as client:
            with pytest.raises(TaskRefused, match=r"takes no new tasks now.*store is full") as told:
                await client.submit("synthetic", question)
        assert (told.value.code, told.value.status) == ("store_full", 503)


async def test_no_tasks_are_taken_well_before_the_store_is_at_its_limit(tmp_path: Path) -> None:
    async with broker(tmp_path, store_limit=16 * MIB) as (server, bus):
        for _ in range(184):
            await submit(bus, 64 * KIB)
        await until(lambda: server.store.shortage == "its store of answers holds 11 of 12 MiB (store_limit)")
        # Those that run have room to end.
        await submit(bus, 64 * KIB)
