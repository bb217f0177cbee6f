"""A node from its start to its end: connect, load, serve, drain."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, TypeVar

from mesh.broker.credentials import Credentials
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.processes.readiness import announce_progress, announce_ready
from mesh.telemetry.telemetry import open_telemetry
from nodes.announce import Announcer
from nodes.engines import open_engine
from nodes.node_id import node_id
from nodes.status import StatusReporter
from nodes.worker import Served, Worker
from streams import subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mesh.config.settings import MeshSettings
    from nodes.engine import Loading
    from nodes.settings import NodeSettings
    from streams.replica import Replica
    from streams.tokens import Token

log = logging.getLogger(__name__)

T = TypeVar("T")

_STEPS: Final = {
    "reading": "reading the model",
    "loading": "loading the model",
    "measuring": "measuring the model",
    "ready": "announcing",
}


class NodeProcess:
    """One node. ``run`` serves until it is asked to stop."""

    def __init__(self, settings: NodeSettings, mesh: MeshSettings, on_fraction: Callable[[float], None]) -> None:
        """Prepare; ``on_fraction`` is told how much of the model is loaded, 0 to 1.

        Raises:
            UnusableNodeId: if the node can have no id.
            CredentialsError: if there is no credential for nodes in the data folder.
        """
        self._settings = settings
        self._on_fraction = on_fraction
        self.node: Token = node_id(settings.id, mesh.data_dir, instance=settings.instance)
        self._telemetry = open_telemetry("ig3-node", otlp_endpoint=mesh.otlp_endpoint)
        self._options = LinkOptions(
            servers=mesh.nats_urls,
            name=f"node:{self.node}",
            inbox_prefix=subjects.node_inbox_prefix(self.node),
            seed_file=Credentials.load_one(mesh.data_dir, "node").seed_path,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then let running answers finish for as long as the settings say.

        Raises:
            BusUnavailable: if the broker cannot be reached at the start, or refuses this node for good.
            EngineError: if the model cannot be loaded.
        """
        async with AsyncExitStack() as stack:
            stack.callback(self._telemetry.close)
            announce_progress("connecting")
            link = await Link.connect(self._options)
            stack.push_async_callback(link.close)
            engine = open_engine(self._settings.engine_spec, self._on_loading)
            stack.push_async_callback(engine.stop)
            replica = await _unless(stop, engine.start())
            if replica is not None:
                await self._serve(link, Served(engine, replica), stop)

    async def _serve(self, link: Link, served: Served, stop: asyncio.Event) -> None:
        worker = Worker(link, self.node, (served,), self._telemetry)
        reporter = StatusReporter(link, self.node, worker, self._settings.heartbeat)
        announcer = Announcer(link, self.node, worker.replicas)
        await worker.listen()
        await announcer.listen()
        await reporter.start()
        ready = asyncio.create_task(self._say_ready(announcer, served.replica))
        try:
            await _unless(stop, announcer.run())
            log.info("stopping; running answers have %s", self._settings.drain)
            await worker.drain(self._settings.drain)
            await announcer.withdraw()
        finally:
            ready.cancel()
            reporter.stop()

    async def _say_ready(self, announcer: Announcer, replica: Replica) -> None:
        await announcer.accepted()
        speed = f", {replica.tokens_per_s:.0f} tokens/s" if replica.tokens_per_s else ""
        slots = f"{replica.slots} at once, {replica.context_tokens} tokens of context"
        announce_ready(f"{replica.model} on {replica.engine} as {self.node}: {slots}{speed}", models=(replica.model,))

    def _on_loading(self, loading: Loading) -> None:
        announce_progress(_STEPS[loading.stage], loading.fraction)
        self._on_fraction(loading.fraction)


async def _unless(stop: asyncio.Event, work: Coroutine[object, object, T]) -> T | None:
    """Do ``work``, or give it up once ``stop`` is set: then None."""
    doing, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        doing.cancel()
        stopping.cancel()
        await asyncio.wait((doing, stopping))
