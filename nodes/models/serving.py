"""Growing and shrinking what a node serves while it runs: each change is announced, and no answer is lost by it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from nodes.errors import EngineStuck

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from datetime import timedelta

    from nodes.attempts.worker import Worker
    from nodes.embedding import AnyEngine
    from nodes.engine import EngineSpec, OnLoading
    from nodes.models.loaded import LoadedModels, Served
    from nodes.presence.announce import Announcer
    from streams.devices.replica import Replica

_LOOK_S: Final = 0.25


async def announce_changes(worker: Worker, announcer: Announcer) -> None:
    """Withdraw what is away, and announce it again when it is back. Never returns."""
    announced = worker.replicas
    while True:
        await asyncio.sleep(_LOOK_S)
        if worker.replicas != announced and not worker.draining:
            announced = worker.replicas
            announcer.announce(announced)


class Serving:
    """The one place that changes the set of models of a running node."""

    def __init__(self, models: LoadedModels, worker: Worker, announcer: Announcer, drain: timedelta) -> None:
        """Change ``models``; answers of one that goes may take ``drain`` to end by themselves."""
        self._models = models
        self._worker = worker
        self._announcer = announcer
        self._drain = drain

    async def load(self, spec: EngineSpec, on_loading: OnLoading | None = None) -> Replica:
        """Load one more model, take work for it, and announce it.

        Raises:
            EngineError: it cannot be loaded; what was served before still is.
        """
        return await self._take_up(self._models.load(spec, on_loading))

    async def start(self, engine: AnyEngine) -> Replica:
        """Do the same with an engine that is open already.

        Raises:
            EngineError: as `load`.
        """
        return await self._take_up(self._models.start(engine))

    async def _take_up(self, loading: Awaitable[Served]) -> Replica:
        try:
            served = await loading
        except EngineStuck as error:
            self._worker.break_down(str(error))
            raise
        self._worker.serve(served)
        self._announcer.announce(self._worker.replicas)
        return served.replica

    async def evict(self, model: str) -> None:
        """Announce a model no more, let its answers end or hand them on, and unload it.

        Raises:
            EngineStuck: its engine does not end. The node is broken then: its process has to end.
        """
        self._worker.retire(model)
        self._announcer.announce(self._worker.replicas)
        await self._worker.release(model, self._drain)
        try:
            await self._models.unload(model)
        except EngineStuck as error:
            self._worker.break_down(str(error))
            raise
