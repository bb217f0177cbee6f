"""A server program that an engine runs for itself: started, watched, started again, stopped with all that it began.

It has a guard (see ``mesh.processes.die_with_parent``), which is its parent and the heir of all that it starts: when it
ends, is to end, or this process dies, however that dies and whatever the program is busy with, nothing of it is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
from collections import deque
from typing import TYPE_CHECKING, Final

from mesh.processes.backoff import Backoff
from mesh.processes.die_with_parent import tree_guarded
from nodes.errors import EngineError, EngineUnavailable

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable, Mapping

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.2
_GRACE_S: Final = 7.0
"""How long it may take to end by itself; a node gives its engine ten seconds."""
_KILLING_S: Final = 2.5
"""How long its guard may take to kill what has not ended by then: on a busy machine it took two seconds for vLLM."""
_LAST_WORDS_S: Final = 1.0
_GONE_LOOK_S: Final = 0.02
_LAST_LINES: Final = 20
_LINES_KEPT: Final = 400
"""vLLM tells the reason in one process of its own, and then each process above that one shows where it was then."""
_LONGEST_LINE: Final = 300
_RAISED: Final = re.compile(r"(?:^|[\])] )((?:[\w.]*(?:Error|Exception): |Value error, ).+)")
"""What was raised, at the beginning of a line or behind who says it: a warning may speak of an error in its midst."""
_TELLING: Final = ("error", "exception", "not found", "out of memory", "cannot", "invalid")
_POINTING: Final = ("for further information", "root cause")
"""What stands in lines that sound like a reason, and say that it is another one."""


class ChildServer:
    """Keeps one program running."""

    def __init__(
        self,
        command: tuple[str, ...],
        *,
        environment: Mapping[str, str],
        is_ready: Callable[[], Awaitable[object]],
        on_end: Callable[[], None],
    ) -> None:
        """Prepare to run ``command``, an absolute path and its arguments.

        Args:
            command: what to run.
            environment: variables on top of this process's own.
            is_ready: raises ``EngineError`` until the program serves.
            on_end: is told each time that it has ended by itself.
        """
        self._command = command
        self._environment = environment
        self._is_ready = is_ready
        self._on_end = on_end
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._readers: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        """Its guard, and the group of both; None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Run it, and return when it serves.

        Raises:
            EngineUnavailable: it ended before.
        """
        process = await self._spawn()
        while not await self._serves():
            if process.returncode is not None:
                _kill_group(process.pid)
                await self._heard()
                why = self._why()
                await self.stop()
                raise EngineUnavailable(f"{self._command[0]} ended with {process.returncode} before it served: {why}")
            await asyncio.sleep(_LOOK_S)
        self._keeper = asyncio.create_task(self._keep(process), name="child-server")

    async def stop(self) -> None:
        """End it and everything that it started; harmless if called again."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
            self._keeper = None
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE_S + _KILLING_S)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        _kill_group(process.pid)
        await process.wait()
        await _group_gone(process.pid)
        await self._heard()

    async def _serves(self) -> bool:
        try:
            await self._is_ready()
        except EngineError:
            return False
        return True

    async def _keep(self, process: Process) -> None:
        """Start it again whenever it ends."""
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while True:
            began = loop.time()
            code = await process.wait()
            _kill_group(process.pid)
            self._on_end()
            pause = backoff.after(loop.time() - began)
            log.warning("%s ended with %s, again in %s: %s", self._command[0], code, pause, self._why())
            await asyncio.sleep(pause.total_seconds())
            process = await self._spawn()

    async def _spawn(self) -> Process:
        # A pipe of our own: asyncio's would hold back the news of the end for as long as anything has it open.
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *tree_guarded(list(self._command), grace_s=_GRACE_S),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                env={**os.environ, **self._environment},
            )
        except OSError as error:
            os.close(read_end)
            raise EngineUnavailable(f"cannot run {self._command[0]}: {error.strerror}") from error
        finally:
            os.close(write_end)
        self._process = process
        reading = asyncio.create_task(self._read(read_end), name="child-output")
        self._readers.add(reading)
        reading.add_done_callback(self._readers.discard)
        return process

    async def _read(self, descriptor: int) -> None:
        output = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            while part := await output.read(4096):
                for text in part.decode("utf-8", errors="replace").splitlines():
                    if text.strip():
                        self._lines.append(text.strip()[:_LONGEST_LINE])
                        log.debug("%s", text)
        finally:
            transport.close()

    async def _heard(self) -> None:
        """Wait for the last words of what has ended."""
        if self._readers:
            await asyncio.wait(tuple(self._readers), timeout=_LAST_WORDS_S)

    def _why(self) -> str:
        """What was raised last, else the last line that sounds like a reason, or the last one at all."""
        lines = [line for line in self._lines if not _has(line, _POINTING)] or ["it said nothing"]
        raised = [found[1] for line in lines if (found := _RAISED.search(line))]
        told = [line for line in lines[-_LAST_LINES:] if _has(line, _TELLING)]
        return (raised or told or lines)[-1]


def _has(line: str, words: tuple[str, ...]) -> bool:
    return any(word in line.lower() for word in words)


def _kill_group(pid: int) -> None:
    """End what the program has left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


async def _group_gone(pid: int) -> None:
    """Wait until what was killed is dead; not for ever: the dead stay in the list until somebody asks for them."""
    until = asyncio.get_running_loop().time() + _LAST_WORDS_S
    with contextlib.suppress(ProcessLookupError):
        while asyncio.get_running_loop().time() < until:
            os.killpg(pid, 0)
            await asyncio.sleep(_GONE_LOOK_S)
