"""A cluster with TLS on all its lines, where all sides show certificates: a client loses a server and goes on."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.broker.cluster import ClusterMember, free_ports
from mesh.broker.credentials import Credentials
from mesh.broker.files import BrokerOptions, broker_variables, conf_for, secret_variables
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.provision import provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.address import Address
from mesh.errors import BusUnavailable, BusUntrusted
from mesh.history.ordered import OrderedReader
from mesh.tls.contexts import ClientTls
from streams import subjects
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import token
from streams.topology import TASKS, stream_specs
from tests.certificates import Authority
from tests.integration.cluster.cluster_server import ClusterServer
from tests.processes import PATIENCE_S

pytestmark = pytest.mark.timeout(240)

# Each server has a certificate for its own address, so that one which is taken for another would not be believed.
HOSTS = ("127.0.0.31", "127.0.0.32", "127.0.0.33")
PATIENCE = timedelta(seconds=PATIENCE_S)
SPECS = [spec for spec in stream_specs(replicas=len(HOSTS)) if spec.name == TASKS]


@dataclass(frozen=True, kw_only=True)
class Secured:
    """The cluster, and how its clients make sure of it."""

    urls: tuple[str, ...]
    servers: dict[str, ClusterServer]
    credentials: Credentials
    ours: Authority

    def options(self, tls: ClientTls, *, url: str, patience_s: float = PATIENCE_S) -> LinkOptions:
        return LinkOptions(
            servers=(url,),
            tls=tls,
            name="service:test",
            inbox_prefix="_INBOX.svc.test",
            seed_file=self.credentials.edge_service.seed_path,
            connect_timeout=timedelta(seconds=patience_s),
        )

    async def bus(self) -> Bus:
        return await Bus.connect(
            BusOptions(
                servers=self.urls,
                tls=self.ours.client(shows=True),
                name="test",
                edge_seed=self.credentials.edge_service.seed_path,
                core_seed=self.credentials.core_service.seed_path,
            )
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder, ours = tmp_path_factory.mktemp("secured"), Authority(tmp_path_factory.mktemp("ours"))
    client_port, route_port = free_ports(HOSTS[0], 2)
    credentials = Credentials.load_or_create(folder)
    servers = {host: server_of(folder, host, (client_port, route_port), credentials, ours) for host in HOSTS}
    with ExitStack() as stack:
        for server in servers.values():
            server.start()
            stack.callback(server.kill)
        urls = tuple(f"tls://{host}:{client_port}" for host in HOSTS)
        yield Secured(urls=urls, servers=servers, credentials=credentials, ours=ours)


def server_of(
    folder: Path, host: str, ports: tuple[int, int], credentials: Credentials, ours: Authority
) -> ClusterServer:
    client_port, route_port = ports
    options = BrokerOptions(
        data_dir=folder,
        server_dir=folder / host,
        name=host.replace(".", "-"),
        listen=Address(host, client_port),
        durability="process",
        store_limit_bytes=2**30,
        tls=ours.asking(host),
        cluster=ClusterMember(
            listen=Address(host, route_port),
            routes=tuple(Address(each, route_port) for each in HOSTS),
            tls=ours.folder / host,
        ),
    )
    variables = broker_variables(options, credentials) | secret_variables(options)
    return ClusterServer(conf_for(options), client_port, variables, host=host)


async def test_a_client_whose_server_is_killed_goes_on_at_another_over_tls(secured: Secured) -> None:
    async with asyncio.timeout(2 * PATIENCE_S), await secured.bus() as bus:
        await provision(bus.links, SPECS, [], patience=PATIENCE)
        first = await stored(bus)
        left = bus.edge.client.server_address
        back = asyncio.Event()
        bus.edge.on_return(back.set)
        killed = secured.servers[left.partition(":")[0]]
        killed.kill()
        await back.wait()
        assert bus.edge.client.server_address != left
        second = await stored(bus)
        async with OrderedReader(bus.edge, TASKS) as reader:
            assert [each.sequence for each in await reader.take(wait_s=PATIENCE_S)] == [first, second]

        killed.start()
        there = await Link.connect(secured.options(secured.ours.client(shows=True), url=f"tls://{left}"))
        assert there.client.server_address == left
        await there.close()


async def test_each_server_is_believed_under_its_own_name_only(secured: Secured) -> None:
    tls = secured.ours.client(shows=True, name=HOSTS[0])
    await (await Link.connect(secured.options(tls, url=secured.urls[0]))).close()
    for url in secured.urls[1:]:
        with pytest.raises(BusUntrusted, match="IP address mismatch"):
            await Link.connect(secured.options(tls, url=url))


async def test_no_server_lets_a_client_in_that_shows_no_certificate(secured: Secured) -> None:
    async def try_(url: str) -> None:
        told = ""
        while "wants another certificate" not in told:
            # A server, or this process, that stands still for so long has said nothing yet.
            with pytest.raises(BusUnavailable) as refused:
                await Link.connect(secured.options(secured.ours.client(), url=url, patience_s=3.0))
            told = str(refused.value)

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*map(try_, secured.urls))


async def stored(bus: Bus) -> int:
    """Append to a stream of three copies, as soon as it has a leader."""
    key = TaskKey(token("local"), new_task_id())
    return await bus.edge.append(subjects.submitted("interactive", key), b"x", timeout=PATIENCE)
