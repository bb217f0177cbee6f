"""One process of a mesh, kept running: started, watched, started again when it ends by itself, stopped when asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import IO, Final, Literal

from msgspec import Struct

from mesh.errors import ChildFailed
from mesh.processes.backoff import Backoff
from mesh.processes.die_with_parent import guarded
from mesh.processes.readiness import READY_FD_VARIABLE, Progress, Ready, read_announcement

_LARGEST_LOG: Final = 10 * 1024 * 1024
_SHOWN_LOG_BYTES: Final = 4096
_PIPE_DRAIN_S: Final = 1.0

ChildState = Literal["starting", "ready", "restarting", "stopping", "stopped"]


class ChildSpec(Struct, frozen=True, kw_only=True):
    """A process to keep running."""

    name: str
    """How people see it: ``node-1``."""
    command: tuple[str, ...]
    """Program (an absolute path) and arguments."""
    log_path: Path
    environment: Mapping[str, str] = {}
    """Variables on top of those that all processes of the mesh get."""
    pinned: str = ""
    """The variable that gets the address this process announced, so that it keeps it when it is started again."""
    grace: timedelta = timedelta(seconds=15)
    """How long it may take to stop before it is killed."""


class ChildChange(Struct, frozen=True, kw_only=True):
    """Something happened to a process. ``fraction`` is how far its start is, 0 to 1, where it says so."""

    name: str
    state: ChildState
    text: str = ""
    fraction: float | None = None


def own_command(*arguments: str) -> tuple[str, ...]:
    """Return the command line of another ``ig3`` command, run by this Python; the current folder is not importable."""
    return (sys.executable, "-P", "-m", "mesh.cli", *arguments)


class Child:
    """Runs a ``ChildSpec``. ``first_ready`` is set once, or fails if the process ends before it was ever ready."""

    def __init__(
        self,
        spec: ChildSpec,
        *,
        environment: Callable[[], Mapping[str, str]],
        on_change: Callable[[ChildChange], None],
        inherited: tuple[int, ...] = (),
    ) -> None:
        """Prepare; ``start`` runs it.

        Args:
            spec: what to run.
            environment: gives the variables of all processes, asked at each start.
            on_change: is told what happens.
            inherited: descriptors that the process holds open as long as it lives.
        """
        self.spec = spec
        self.first_ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._environment = environment
        self._on_change = on_change
        self._inherited = inherited
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The process id; None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> None:
        """Begin to keep the process running."""
        self._keeper = asyncio.create_task(self._keep(), name=f"child-{self.spec.name}")

    async def stop(self) -> None:
        """Ask the process to stop; kill it after its grace."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            self._tell("stopping")
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), self.spec.grace.total_seconds())
            except TimeoutError:
                self._tell("stopping", f"killed: it did not stop within {self.spec.grace.total_seconds():.0f} s")
                self.kill()
                await process.wait()
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        self.first_ready.cancel()
        self._tell("stopped")

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _keep(self) -> None:
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        while not self._stopping:
            self._tell("starting")
            began = loop.time()
            code = await self._run()
            if self._stopping:
                return
            if not self.first_ready.done():
                self.first_ready.set_exception(ChildFailed(f"{self.spec.name} did not start: {self._why(code)}"))
                return
            delay = backoff.after(loop.time() - began)
            self._tell("restarting", f"{self._why(code)}; again in {delay.total_seconds():.1f} s")
            await asyncio.sleep(delay.total_seconds())

    async def _run(self) -> int:
        """Run the process once, to its end, and return its exit status."""
        read_end, write_end = os.pipe()
        try:
            self._process = await self._spawn(write_end)
        except OSError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        listening = asyncio.create_task(self._listen(read_end))
        try:
            code = await self._process.wait()
            # What it wrote last is still in the pipe.
            await asyncio.wait({listening}, timeout=_PIPE_DRAIN_S)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        return code

    async def _spawn(self, ready_descriptor: int) -> asyncio.subprocess.Process:
        announce = {READY_FD_VARIABLE: str(ready_descriptor)}
        with _open_log(self.spec.log_path) as log_file:
            return await asyncio.create_subprocess_exec(
                *guarded(list(self.spec.command)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                env={**self._environment(), **self.spec.environment, **announce},
                pass_fds=(ready_descriptor, *self._inherited),
            )

    async def _listen(self, descriptor: int) -> None:
        """Pass on what the process announces, until it ends."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            while line := await reader.readline():
                match read_announcement(line):
                    case Progress() as progress:
                        self._tell("starting", progress.step, progress.fraction)
                    case Ready() as ready:
                        self._tell("ready", ready.detail)
                        if not self.first_ready.done():
                            self.first_ready.set_result(ready)
                    case None:
                        pass
        finally:
            transport.close()

    def _tell(self, state: ChildState, text: str = "", fraction: float | None = None) -> None:
        self._on_change(ChildChange(name=self.spec.name, state=state, text=text, fraction=fraction))

    def _why(self, code: int) -> str:
        """What is known about an end: the last line of the log, unless a signal came from outside."""
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        last = _last_line(self.spec.log_path).removeprefix("ig3: ") if code else ""
        return f"{last} (exit {code}; log: {self.spec.log_path})" if last else f"exit {code}; log: {self.spec.log_path}"


def _open_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LARGEST_LOG:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def _last_line(path: Path) -> str:
    lines = path.read_bytes()[-_SHOWN_LOG_BYTES:].decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
