"""A node as a process of its own, with the synthetic engine."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from streams.messages import NodeStatus
from tests.integration.worker.played_dispatcher import PlayedDispatcher, until
from tests.integration.worker.site import NODE, Site, stopped
from tests.running_mesh import IG3, Place, Running


class NodeChild:
    """One running node."""

    def __init__(self, running: Running, dispatcher: PlayedDispatcher) -> None:
        self.running = running
        self._dispatcher = dispatcher

    @property
    def log(self) -> list[str]:
        return self.running.output.splitlines()

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """It does nothing meanwhile, and nobody is told."""
        os.kill(self.running.pid, signal.SIGSTOP)
        try:
            await until(lambda: stopped(self.running.pid))
            yield
        finally:
            os.kill(self.running.pid, signal.SIGCONT)

    async def idle(self) -> None:
        """Wait until it says that nothing runs on it."""
        statuses = self._dispatcher.statuses
        heard = len(statuses)
        await until(lambda: [status for status in statuses[heard:] if not status.running and not _busy(status)])


@asynccontextmanager
async def node_child(site: Site, folder: Path, *arguments: str, nats: str | None = None) -> AsyncIterator[NodeChild]:
    """Run `ig3 node` until the end of the block, and see that it stops in good order."""
    command = [str(IG3), "node", "--engine", "synthetic", "--id", NODE, "--heartbeat", "300ms", *arguments]
    command += ["--nats", nats or str(site.server.address), "--data-dir", str(site.data_dir)]
    running = await _started(command, Place(folder=folder))
    try:
        yield NodeChild(running, site.dispatcher)
        assert await asyncio.to_thread(running.stop) == 0
        assert "Traceback" not in running.output
    finally:
        if running.process.poll() is None:
            await asyncio.to_thread(running.kill)


async def _started(command: list[str], place: Place) -> Running:
    """Start it until it is ready: once more where its broker stood still for too long, as its supervisor does."""
    while True:
        running = Running("node", command, place)
        try:
            await asyncio.to_thread(running.ready)
        except BaseException:
            await asyncio.to_thread(running.kill)
            if "cannot reach the bus" not in running.output:
                raise
            running.log.unlink()
        else:
            return running


def _busy(status: NodeStatus) -> bool:
    return any(load.busy for load in status.replicas)
