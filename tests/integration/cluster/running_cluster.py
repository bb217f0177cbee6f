"""Three real servers with the shipped configuration, as one cluster whose routes can be cut."""

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Self

from mesh.broker.cluster import ClusterMember, free_ports
from mesh.broker.credentials import Credentials
from mesh.broker.files import (
    CLUSTER_CONF_FILE,
    BrokerOptions,
    broker_variables,
    find_conf,
    secret_variables,
)
from mesh.bus.provision import provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.address import Address
from mesh.errors import BusError
from streams.consumers import consumer_specs
from streams.topology import Account, StreamSpec, stream_specs
from tests.integration.cluster.cluster_server import ClusterServer
from tests.integration.cluster.route_relays import RouteRelays
from tests.processes import PATIENCE_S

SIZE = 3
HOST = "127.0.0.1"
_NOBODY = "127.0.0.1:1"
_LOOK_S = 0.1


class RunningCluster:
    """Servers 0, 1 and 2. Each reaches the others through relays only: the address that it gossips is nobody's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.credentials = Credentials.load_or_create(folder)
        ports = free_ports(HOST, 2 * SIZE)
        self._clients, self._listening = ports[:SIZE], ports[SIZE:]
        self._relays = RouteRelays(dict(enumerate(self._listening)))
        self._servers = [self._server(number) for number in range(SIZE)]
        self._paused: set[int] = set()
        self._stack = ExitStack()

    @property
    def urls(self) -> tuple[str, ...]:
        """Where clients connect, by the number of the server."""
        return tuple(f"nats://{HOST}:{port}" for port in self._clients)

    @property
    def url(self) -> str:
        """Where clients of server 0 connect."""
        return self.urls[0]

    def __enter__(self) -> Self:
        self._relays.start()
        self._stack.callback(self._relays.stop)
        for server in self._servers:
            server.start()
            self._stack.callback(server.kill)
        self._stack.callback(self.resume)
        try:
            asyncio.run(self._provision())
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def kill(self, number: int) -> None:
        """End a server with SIGKILL."""
        self._servers[number].kill()

    def start(self, number: int) -> None:
        """Start a server again, where it was."""
        self._servers[number].start()

    def pause(self, number: int) -> None:
        """Stop a server with SIGSTOP: its connections stay, and nothing comes from them."""
        self._servers[number].signal(signal.SIGSTOP)
        self._paused.add(number)

    def resume(self) -> None:
        """Let paused servers go on."""
        for number in self._paused:
            self._servers[number].signal(signal.SIGCONT)
        self._paused.clear()

    @contextlib.contextmanager
    def isolated(self, number: int) -> Iterator[None]:
        """Cut a server off from the others; clients still reach it."""
        self._relays.isolate(number)
        try:
            yield
        finally:
            self._relays.heal()

    async def connect(self, name: str, *, first: int | None = None) -> Bus:
        """Connect as a service that knows all servers; with `first`, begin at that one."""
        servers = self.urls if first is None else (self.urls[first],)
        return await Bus.connect(
            BusOptions(
                servers=servers,
                name=name,
                edge_seed=self.credentials.edge_service.seed_path,
                core_seed=self.credentials.core_service.seed_path,
            )
        )

    async def leader(self, bus: Bus, stream: str, account: Account = "EDGE") -> int:
        """The number of the server that leads a stream."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(BusError):
                    answer = await bus.links[account].request(
                        f"$JS.API.STREAM.INFO.{stream}", b"", timeout=timedelta(seconds=1)
                    )
                    name = json.loads(answer.data).get("cluster", {}).get("leader")
                    if name:
                        return int(name.removeprefix("s"))
                await asyncio.sleep(_LOOK_S)

    async def whole(self, bus: Bus) -> None:
        """Wait until every stream has a leader and two followers that are up to date."""
        async with asyncio.timeout(PATIENCE_S):
            for spec in stream_specs():
                await self._become_whole(bus, spec)

    async def _become_whole(self, bus: Bus, spec: StreamSpec) -> None:
        while True:
            with contextlib.suppress(BusError):
                answer = await bus.links[spec.account].request(
                    f"$JS.API.STREAM.INFO.{spec.name}", b"", timeout=timedelta(seconds=1)
                )
                cluster = json.loads(answer.data).get("cluster", {})
                followers = [each for each in cluster.get("replicas", []) if each.get("current")]
                if cluster.get("leader") and len(followers) == SIZE - 1:
                    return
            await asyncio.sleep(_LOOK_S)

    async def _provision(self) -> None:
        async with await self.connect("cluster-fixture") as bus:
            patience = timedelta(seconds=PATIENCE_S)
            await provision(bus.links, stream_specs(replicas=SIZE), consumer_specs(), patience=patience)
            await self.whole(bus)

    def _server(self, number: int) -> ClusterServer:
        folder = self.folder / f"server-{number}"
        routes = tuple(Address(HOST, port) for (one, _), port in self._relays.ports.items() if one == number)
        options = BrokerOptions(
            data_dir=self.folder,
            server_dir=folder,
            name=f"s{number}",
            listen=Address(HOST, self._clients[number]),
            # What is acknowledged survives kill -9 either way, and the tests share one disk.
            durability="process",
            store_limit_bytes=2**30,
            cluster=ClusterMember(listen=Address(HOST, self._listening[number]), routes=routes),
        )
        variables = broker_variables(options, self.credentials) | secret_variables(options)
        inside = f'{find_conf(CLUSTER_CONF_FILE).read_text()}\nadvertise: "{_NOBODY}"\n'
        conf = folder / "nats.conf"
        conf.write_text(f"{find_conf().read_text()}\ncluster {{\n{inside}}}\n")
        return ClusterServer(conf, self._clients[number], variables)
