"""A mesh of real processes, several of each part, that a test kills, hangs and starts again."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from mesh.broker.cluster import free_ports
from mesh.commands.up_brokers import plan_brokers
from mesh.config.address import parse_address
from mesh.config.settings import MeshSettings
from tests.integration.cluster.route_relays import RouteRelays
from tests.processes import descendants, is_running, until
from tests.running_mesh import SYNTHETIC, Parts, Place

IDENTITIES = ("identity-0", "identity-1")
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

    @property
    def names(self) -> list[str]:
        """Of all parts but the brokers."""
        counts = {"dispatcher": self.dispatchers, "node": self.nodes, "gateway": self.gateways}
        return [f"{part}-{number}" for part, count in counts.items() for number in range(count)]


@dataclass
class Fleet:
    """The running processes by name."""

    parts: Parts
    size: Size
    servers: Mapping[str, Mapping[str, str]]
    """Each broker's own variables."""
    lines: "Lines"
    """What the others reach the brokers by."""

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
        self.parts.start(name, *self._arguments(name), **{**_PATIENT, **self._variables(name)})

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

    def _variables(self, name: str) -> Mapping[str, str]:
        if name in self.servers:
            return self.servers[name]
        if name in IDENTITIES:
            return {"IG3_AUDIENCES": ",".join(self.lines.addresses)}
        return self.lines.variables_of(name)

    def _arguments(self, name: str) -> list[str]:
        if name in self.gateways:
            return ["--http", "127.0.0.1:0"]
        if name in self.nodes:
            return ["--engine", SYNTHETIC, "--token-delay-ms", str(self.size.token_delay_ms), "--id", name]
        return []


class Lines:
    """Between each part and each broker: a line of its own, that can be cut. Readers have none.

    In a cluster a part that finds its line dead may go on by an address that another server has told it.
    """

    def __init__(self, names: Sequence[str], nats: str) -> None:
        servers = [parse_address(address).port for address in nats.split(",")]
        numbers = dict(enumerate(servers, len(names)))
        pairs = [(part, server) for part in range(len(names)) for server in numbers]
        self._names = list(names)
        self._relays = RouteRelays(numbers, pairs)
        self._ports = self._relays.ports

    def variables_of(self, name: str) -> dict[str, str]:
        """Where a part finds the brokers."""
        own = self._names.index(name)
        ports = [port for (part, _), port in self._ports.items() if part == own]
        return {"IG3_NATS": ",".join(f"127.0.0.1:{port}" for port in ports)}

    @property
    def addresses(self) -> list[str]:
        """Where parts dial the brokers: devices sign that, so the mesh must know these addresses as its own."""
        return [f"127.0.0.1:{port}" for port in self._ports.values()]

    def cut(self, name: str) -> None:
        """Let nothing pass, and tell nobody."""
        self._relays.isolate(self._names.index(name))

    def heal(self) -> None:
        """Let everything pass again, what was sent meanwhile first."""
        self._relays.heal()

    def __enter__(self) -> Self:
        self._relays.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._relays.stop()


@contextmanager
def running_fleet(folder: Path, size: Size) -> Iterator[Fleet]:
    """Run a whole fleet and stop it at the end."""
    parts = Parts(place=Place(folder=folder))
    with ExitStack() as stack:
        fleet = _planned(parts, size)
        stack.enter_context(fleet.lines)
        stack.callback(parts.stop)
        for names in (fleet.brokers, IDENTITIES, [*fleet.dispatchers, *fleet.nodes, *fleet.gateways]):
            for name in names:
                fleet.start(name)
            parts.ready(*names)
        yield fleet


def _planned(parts: Parts, size: Size) -> Fleet:
    """One broker, or those of a cluster as `ig3 up --cluster` has them, and whoever else there is."""
    ports = free_ports("127.0.0.1", 1)
    mesh = MeshSettings(nats=f"127.0.0.1:{ports[0]}", data_dir=parts.place.data_dir)
    brokers = plan_brokers(mesh, size.servers)
    parts.place = replace(parts.place, nats=brokers.for_all.get("IG3_NATS", mesh.nats))
    return Fleet(parts, size, brokers.each, Lines(size.names, parts.place.nats))
