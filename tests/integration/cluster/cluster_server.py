"""One server of a test cluster: started from a configuration file, killed, paused, started again where it was."""

import os
import signal
import socket
import subprocess
from pathlib import Path

from mesh.broker.files import find_binary
from tests.processes import wait_until


class ClusterServer:
    """A nats-server that takes all its settings from a file and its variables."""

    def __init__(self, conf: Path, port: int, environment: dict[str, str], *, host: str = "127.0.0.1") -> None:
        self._command = [str(find_binary()), "-c", str(conf)]
        self._log = conf.with_suffix(".log")
        self._address = (host, port)
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not killed since."""
        return self._process is not None

    def start(self) -> None:
        """Start it and return when it takes connections, which says nothing about the cluster."""
        assert self._process is None, "the server is running already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stderr=log)
        wait_until(self._listens)

    def signal(self, how: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None, "the server is not running"
        os.kill(self._process.pid, how)

    def kill(self) -> None:
        """End it with SIGKILL; no error if it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"nats-server ended; its log:\n{self._log.read_text()}"
        with socket.socket() as probe:
            return probe.connect_ex(self._address) == 0
