"""A node's surroundings in the tests: a real broker, a played dispatcher, workers with the rights of a node."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mesh.broker.server import EmbeddedServer
from mesh.bus.link import Link
from nodes.attempts.worker import Worker
from nodes.engine import Engine, EngineSpec, Generate, SyntheticKind
from nodes.engines import open_engine
from nodes.models.loaded import Served
from streams.tasks.chat import Message, Sampling
from streams.tokens import Token
from tests.identity_in_process import device_options
from tests.integration.worker.played_dispatcher import PlayedDispatcher, until
from tests.paced_engine import Pace, PacedEngine

NODE = Token("node-1")


@dataclass
class Site:
    """A broker with its streams and the played dispatcher."""

    server: EmbeddedServer
    data_dir: Path
    dispatcher: PlayedDispatcher

    async def connect_node(self, url: str | None = None) -> Link:
        return await Link.connect(device_options(url or self.server.url, NODE))

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """The broker does nothing meanwhile: what it got is not answered, and nobody is disconnected."""
        pid = self.server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            await until(lambda: stopped(pid))
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @asynccontextmanager
    async def worker(self, *engines: Engine, url: str | None = None) -> AsyncIterator[Worker]:
        """A worker with the rights of a node and nothing more."""
        link = await self.connect_node(url)
        served = [Served(engine, await engine.start()) for engine in engines]
        worker = Worker(link, NODE, served)
        await worker.listen()
        await link.client.flush()
        try:
            yield worker
        finally:
            await worker.drain(timedelta(0))
            await link.close()


def stopped(pid: int) -> bool:
    """Whether all of a process stands still: the signal stops one thread after the other."""
    return all(_is_stopped(thread) for thread in Path(f"/proc/{pid}/task").iterdir())


def _is_stopped(thread: Path) -> bool:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"


def synthetic(*, slots: int = 64, token_delay_ms: float = 0.0, kind: SyntheticKind = "continues") -> Engine:
    return open_engine(EngineSpec(engine="synthetic", slots=slots, token_delay_ms=token_delay_ms, synthetic=kind))


def paced(pace: Pace, *, kind: SyntheticKind = "continues") -> Engine:
    return PacedEngine(EngineSpec(engine="synthetic", slots=64, synthetic=kind), pace)


async def text_of(engine: Engine, content: str, max_tokens: int) -> str:
    request = Generate(messages=(Message(role="user", content=content),), sampling=Sampling(max_tokens=max_tokens))
    return "".join([piece.text async for piece in engine.generate(request)])
