"""A process of a shard group: it runs llama.cpp in a private network, and dies with the node that started it.

llama.cpp aborts its process when the other end of an RPC connection goes away or lies: so it is never the node's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

from mesh.processes.die_with_parent import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_GRACE: Final = timedelta(seconds=3)
_LAST_LINES: Final = 3


class ShardChild:
    """One running process. ``channel`` is the node's end of the socket pair that it has with it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: socket.socket) -> None:
        """Use ``start``."""
        self.channel = channel
        self._process = process
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._reading = asyncio.create_task(self._read(), name="shard-child-log")

    @classmethod
    async def start(cls, module: str, *arguments: str, kind: socket.SocketKind) -> Self:
        """Run a module of ours with the number of its end of the pair, and then ``arguments``."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        with theirs:
            command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), *arguments]
            process = await asyncio.create_subprocess_exec(
                *guarded(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                # Else a debugger is started on it when it aborts.
                env={**os.environ, "GGML_NO_BACKTRACE": "1"},
                pass_fds=(theirs.fileno(),),
            )
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ended(self) -> str:
        """Wait until it has ended; returns why, as far as it is known."""
        code = await self._process.wait()
        await asyncio.wait((self._reading,), timeout=1)
        how = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return f"{how}: {'; '.join(self._last)}" if self._last else how

    async def stop(self) -> None:
        """End it; harmless if it has ended."""
        await self._signal(self._process.terminate, _GRACE)
        await self._signal(self._process.kill, None)
        self._reading.cancel()
        self.channel.close()

    async def _signal(self, send: Callable[[], None], patience: timedelta | None) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                send()
                async with asyncio.timeout(None if patience is None else patience.total_seconds()):
                    await self._process.wait()

    async def _read(self) -> None:
        if self._process.stderr is None:
            return
        async for line in self._process.stderr:
            text = line.decode("utf-8", "replace").strip()
            if text:
                self._last.append(text)
                log.debug("shard process %d: %s", self.pid, text)
