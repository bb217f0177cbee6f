"""A mesh of real processes, several of each part, that a test kills, hangs and starts again."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mesh.broker.cluster import free_ports
from mesh.commands.up_brokers import plan_brokers
from mesh.config.settings import MeshSettings
from tests.processes import descendants, is_running, until
from tests.running_mesh import SYNTHETIC, Parts, Place

_PATIENT = {"IG3_MAX_LOST_NODES": "100", "IG3_MAX_ATTEMPTS": "100"}
"""No answer dies of the faults alone: that a task which loses three nodes does is another test's."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many of each part, and how fast a node writes."""

    servers: int = 1
    dispatchers: int = 2
    nodes: int = 3
    gateways: int = 2
    token_delay_ms: int = 150


@dataclass
class Fleet:
    """The running processes by name."""

    parts: Parts
    size: Size
    servers: Mapping[str, Mapping[str, str]]
    """Each broker's own variables."""

    @property
    def brokers(self) -> list[str]:
        """Names of the brokers, each of which runs one nats-server."""
        return list(self.servers)

    @property
    def dispatchers(self) -> list[str]:
        """Names of the dispatchers."""
        return [f"dispatcher-{number}" for number in range(self.size.dispatchers)]

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes, which are also their ids."""
        return [f"node-{number}" for number in range(self.size.nodes)]

    @property
    def gateways(self) -> list[str]:
        """Names of the gateways."""
        return [f"gateway-{number}" for number in range(self.size.gateways)]

    def url(self, gateway: int) -> str:
        """Where a gateway listens, or did before it died."""
        return self.parts.urls[self.gateways[gateway % self.size.gateways]]

    def start(self, name: str) -> None:
        """Start a part; `ready` waits for it."""
        self.parts.start(name, *self._arguments(name), **{**_PATIENT, **self.servers.get(name, {})})

    async def start_again(self, name: str) -> None:
        """Start a part that was killed, as a supervisor does, and wait for it."""
        self.start(name)
        await asyncio.to_thread(self.parts.ready, name)

    def kill(self, name: str) -> None:
        """End a part as a crash does."""
        self.parts.running[name].kill()

    async def server_pid(self, broker: str) -> int:
        """The process id of a broker's nats-server, as soon as it has one."""
        found: list[int] = []

        def look() -> bool:
            with suppress(FileNotFoundError, ProcessLookupError):
                processes = descendants(self.parts.running[broker].pid).items()
                found[:] = [pid for pid, name in processes if name == "nats-server" and is_running(pid)]
            return bool(found)

        await until(look)
        return found[0]

    def _arguments(self, name: str) -> list[str]:
        if name in self.gateways:
            return ["--http", "127.0.0.1:0"]
        if name in self.nodes:
            return ["--engine", SYNTHETIC, "--token-delay-ms", str(self.size.token_delay_ms), "--id", name]
        return []


@contextmanager
def running_fleet(folder: Path, size: Size) -> Iterator[Fleet]:
    """Run a whole fleet and stop it at the end."""
    parts = Parts(place=Place(folder=folder))
    try:
        fleet = _with_brokers(parts, size)
        names = ("identity-1", "identity-2", *fleet.dispatchers, *fleet.nodes, *fleet.gateways)
        for name in names:
            fleet.start(name)
        parts.ready(*names)
        yield fleet
    finally:
        parts.stop()


def _with_brokers(parts: Parts, size: Size) -> Fleet:
    """Start one broker, or those of a cluster as `ig3 up --cluster` does."""
    ports = free_ports("127.0.0.1", 1)
    mesh = MeshSettings(nats=f"127.0.0.1:{ports[0]}", data_dir=parts.place.data_dir)
    brokers = plan_brokers(mesh, size.servers)
    parts.place = replace(parts.place, nats=brokers.for_all.get("IG3_NATS", mesh.nats))
    fleet = Fleet(parts, size, brokers.each)
    for name in fleet.brokers:
        fleet.start(name)
    parts.ready(*fleet.brokers)
    return fleet
