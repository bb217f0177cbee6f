"""The embedded nats-server: starts, refuses, restarts, stops, and never outlives its process."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import nats
import pytest
from msgspec.structs import replace
from nats.aio.client import Client as Nats

from mesh.broker.files import BrokerOptions
from mesh.broker.server import EmbeddedServer
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.config.address import Address
from mesh.errors import BrokerFailed, BusUnavailable, PortInUse, StoreInUse
from tests.processes import is_running, until

OWNER = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
from mesh.config.address import Address
from mesh.broker.server import EmbeddedServer
from mesh.broker.files import BrokerOptions

async def main():
    options = BrokerOptions(data_dir=Path(sys.argv[1]), listen=Address("127.0.0.1", 0))
    async with EmbeddedServer(options) as server:
        print(server.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def options_in(folder: Path, port: int = 0) -> BrokerOptions:
    return BrokerOptions(data_dir=folder, listen=Address("127.0.0.1", port))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer(options_in(tmp_path / "data")) as running:
        yield running


async def connect(server: EmbeddedServer) -> Nats:
    return await nats.connect(server.url, nkeys_seed=str(server.credentials.edge_service.seed_path))


async def test_it_takes_clients_with_jetstream_when_it_is_entered(server: EmbeddedServer) -> None:
    client = await connect(server)
    info = await client.jetstream().account_info()
    await client.close()
    assert info.limits.max_storage > 0
    assert server.address.port != 0


async def test_a_client_without_a_credential_is_refused(server: EmbeddedServer) -> None:
    # The broker asks the identity service, and refuses whoever nobody has vouched for.
    options = LinkOptions(
        servers=(server.url,),
        name="nobody",
        inbox_prefix="_INBOX.nobody",
        connect_timeout=timedelta(seconds=1),
    )
    with pytest.raises(BusUnavailable):
        await Link.connect(options)


async def test_nothing_of_it_runs_after_the_context(tmp_path: Path) -> None:
    async with EmbeddedServer(options_in(tmp_path)) as server:
        pid = server.pid
    assert pid is not None
    assert not is_running(pid)
    assert "Server Exiting" in (tmp_path / "logs" / "nats-server.log").read_text()


async def test_what_was_stored_is_there_at_the_next_start(tmp_path: Path) -> None:
    for expected in (1, 2):
        async with EmbeddedServer(options_in(tmp_path)) as server:
            client = await connect(server)
            stream = client.jetstream()
            await stream.add_stream(name="KEPT", subjects=["kept"])
            assert (await stream.publish("kept", b"x")).seq == expected
            await client.close()


async def test_it_comes_back_at_the_same_port_with_its_data_after_kill_9(server: EmbeddedServer) -> None:
    client = await connect(server)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await client.jetstream().publish("kept", b"x")
    await client.close()
    port, pid = server.address.port, server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: server.restarts == 1)
    assert server.address.port == port
    assert server.pid not in {None, pid}
    client = await connect(server)
    assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
    await client.close()


async def test_it_comes_back_each_time_it_dies(server: EmbeddedServer) -> None:
    for times in (1, 2, 3):
        await until(lambda: server.pid is not None)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda times=times: server.restarts == times)


async def test_a_second_server_on_the_same_folder_is_refused_and_told_by_whom(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    with pytest.raises(StoreInUse, match=f"in use by the broker with pid {os.getpid()} at {server.address}"):
        await EmbeddedServer(options_in(tmp_path / "data")).__aenter__()


async def test_a_port_that_is_taken_is_refused_and_told_by_whom(server: EmbeddedServer, tmp_path: Path) -> None:
    second = EmbeddedServer(options_in(tmp_path / "other", server.address.port))
    with pytest.raises(PortInUse, match=rf"in use by nats-server \(pid {server.pid}\).*--nats"):
        await second.__aenter__()


async def test_a_refused_start_leaves_the_folder_free(server: EmbeddedServer, tmp_path: Path) -> None:
    other = options_in(tmp_path / "other", server.address.port)
    with pytest.raises(PortInUse):
        await EmbeddedServer(other).__aenter__()
    async with EmbeddedServer(replace(other, listen=Address("127.0.0.1", 0))) as third:
        assert third.pid is not None


async def test_two_run_side_by_side_in_their_own_folders(server: EmbeddedServer, tmp_path: Path) -> None:
    async with EmbeddedServer(options_in(tmp_path / "other")) as second:
        assert second.address != server.address
        assert second.credentials != server.credentials


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    tmp_path.joinpath("jetstream").write_text("a file where the store should be")
    with pytest.raises(BrokerFailed, match=r"ended at its start \(exit 1\): .*storage directory"):
        await EmbeddedServer(options_in(tmp_path)).__aenter__()


async def test_an_address_that_this_machine_does_not_have_is_told(tmp_path: Path) -> None:
    elsewhere = BrokerOptions(data_dir=tmp_path, listen=Address("203.0.113.1", 4222))
    with pytest.raises(BrokerFailed, match="cannot assign requested address"):
        await EmbeddedServer(elsewhere).__aenter__()


async def test_a_data_folder_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(BrokerFailed, match="cannot use the data folder"):
        await EmbeddedServer(options_in(tmp_path / "data")).__aenter__()


@pytest.mark.parametrize("name", ["with space", "quote'and\"quote", "dollar$HOME", "back\\slash", "ümläut", "#hash;"])
async def test_any_folder_name_will_do(tmp_path: Path, name: str) -> None:
    async with EmbeddedServer(options_in(tmp_path / name)):
        assert (tmp_path / name / "jetstream").is_dir()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_the_server_ends_when_its_process_is_killed_and_the_next_start_waits_for_it(
    tmp_path: Path, end: signal.Signals
) -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    pid = int(await owner.stdout.readline())
    owner.send_signal(end)
    await owner.wait()
    async with EmbeddedServer(options_in(tmp_path)):
        assert not is_running(pid)
