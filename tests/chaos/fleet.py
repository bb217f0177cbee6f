"""A mesh of real processes, several of each part, that a test kills, hangs and starts again."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import descendants
from tests.running_mesh import SYNTHETIC, Parts, running_parts

NATS_SERVER = "nats-server"
BROKER = "broker"
_PATIENT = {"IG3_MAX_LOST_NODES": "100", "IG3_MAX_ATTEMPTS": "100"}
"""No answer dies of the faults alone: that a task which loses three nodes does is another test's."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many of each part, and how fast a node writes."""

    dispatchers: int = 2
    nodes: int = 3
    gateways: int = 2
    token_delay_ms: int = 150


@dataclass
class Fleet:
    """The running processes by name."""

    parts: Parts
    size: Size

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
        self.parts.start(name, *self._arguments(name), **_PATIENT)

    async def start_again(self, name: str) -> None:
        """Start a part that was killed, as a supervisor does, and wait for it."""
        self.start(name)
        await asyncio.to_thread(self.parts.ready, name)

    def kill(self, name: str) -> None:
        """End a part as a crash does."""
        if name == NATS_SERVER:
            os.kill(self.nats_server_pid, signal.SIGKILL)
        else:
            self.parts.running[name].kill()

    def pid(self, name: str) -> int:
        """The process id of a part."""
        return self.nats_server_pid if name == NATS_SERVER else self.parts.running[name].pid

    @property
    def nats_server_pid(self) -> int:
        """The process id of the broker's server."""
        found = descendants(self.parts.running[BROKER].pid)
        return next(pid for pid, name in found.items() if name == NATS_SERVER)

    def _arguments(self, name: str) -> list[str]:
        if name in self.gateways:
            return ["--http", "127.0.0.1:0"]
        if name in self.nodes:
            return ["--engine", SYNTHETIC, "--token-delay-ms", str(self.size.token_delay_ms), "--id", name]
        return []


@contextmanager
def running_fleet(folder: Path, size: Size) -> Iterator[Fleet]:
    """Run a whole fleet and stop it at the end."""
    with running_parts(folder) as parts:
        fleet = Fleet(parts, size)
        names = (*fleet.dispatchers, *fleet.nodes, *fleet.gateways)
        for name in names:
            fleet.start(name)
        parts.ready(*names)
        yield fleet
