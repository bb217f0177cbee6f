"""A mesh of real processes for a benchmark, and the floors beside it on the same broker."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measured import children_of

START_LIMIT_S = 120.0
NONE: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class RunningMesh:
    """Where the mesh listens, and its processes by name: gateway, dispatcher, node-1, nats-server."""

    http_port: int
    nats_url: str
    data_dir: Path
    seed: Path
    pids: dict[str, int]

    @property
    def served_by(self) -> list[int]:
        """The processes whose cost a request is charged with: gateway, dispatcher and nats-server, not the engine."""
        return [self.pids[name] for name in ("gateway", "dispatcher", "nats-server")]


@contextlib.contextmanager
def running_mesh(
    *,
    durability: str,
    token_delay_ms: float = 0.0,
    slots: int = 256,
    nodes: int = 1,
    embedding_model: str = "none",
    variables: Mapping[str, str] = NONE,
) -> Iterator[RunningMesh]:
    """Start ``ig3 up`` with the synthetic engine on free ports, in a folder of its own; ``variables`` are settings."""
    with tempfile.TemporaryDirectory(prefix="ig3-bench-") as folder, contextlib.ExitStack() as stack:
        data = Path(folder) / "mesh"
        http_port, nats_port = free_port(), free_port()
        command = [sys.executable, "-m", "mesh.cli", "up", "--engine", "synthetic", "--slots", str(slots)]
        command += ["--nodes", str(nodes), "--embedding-model", embedding_model]
        command += ["--token-delay-ms", str(token_delay_ms), "--durability", durability, "--data-dir", str(data)]
        command += ["--http", f"127.0.0.1:{http_port}", "--nats", f"127.0.0.1:{nats_port}"]
        environment = {**os.environ, **variables}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        _wait_ready(process, f"http://127.0.0.1:{http_port}/readyz")
        yield RunningMesh(
            http_port=http_port,
            nats_url=f"nats://127.0.0.1:{nats_port}",
            data_dir=data,
            seed=data / "credentials" / "edge-service.nk",
            pids=_processes(process.pid),
        )


@contextlib.contextmanager
def running_floor(mesh: RunningMesh, *, publishes: int) -> Iterator[tuple[int, list[int]]]:
    """Start a floor on the mesh's broker; yields its port and the processes that it costs."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.floor", mesh.nats_url, str(mesh.seed), str(port), str(publishes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield port, [process.pid, mesh.pids["nats-server"]]
        finally:
            process.terminate()


def free_port() -> int:
    """Find a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"ig3 up ended with status {process.returncode}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError("the mesh was not ready in time")


def _processes(pid: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for child in children_of(pid):
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        name = next((word for word in words if word in {"broker", "dispatcher", "gateway", "node"}), None)
        if name is not None:
            found[name] = child
        found |= _processes(child)
        if words[0].endswith("nats-server"):
            found["nats-server"] = child
    return found
