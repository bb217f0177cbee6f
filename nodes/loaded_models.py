"""The models that one node has loaded: how they come, and how they go."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from nodes.engines import open_engine
from nodes.errors import EngineError, EngineStuck, EngineUnavailable

if TYPE_CHECKING:
    from nodes.engine import Engine, EngineSpec, OnLoading
    from streams.replica import Replica

ENGINE_STOP: Final = timedelta(seconds=10)
"""How long an engine may take to end what it is doing."""


class Served(NamedTuple):
    """A model that this node serves: the engine that runs it, and what was announced of it."""

    engine: Engine
    replica: Replica


class LoadedModels:
    """One engine for each model. They are loaded one after the other: what fits is told from what the others left."""

    def __init__(self, *, region: str | None = None, site: str | None = None) -> None:
        """Begin with no model; of each it is said where it is, unless its engine says it of itself."""
        self._region = region
        self._site = site
        self._served: dict[str, Served] = {}
        self._open: list[Engine] = []
        self._loading = asyncio.Lock()

    @property
    def served(self) -> tuple[Served, ...]:
        """What is loaded, in the order of loading."""
        return tuple(self._served.values())

    async def load(self, spec: EngineSpec, on_loading: OnLoading | None = None) -> Served:
        """Open an engine on one more model.

        Raises:
            EngineError: it cannot be loaded, does not fit beside the others, or another model here has its id.
            EngineStuck: an engine that was started in vain does not end.
        """
        async with self._loading:
            engine = open_engine(spec, on_loading)
            # From here on ``stop`` knows it: the start may be given up at any moment.
            self._open.append(engine)
            try:
                served = Served(engine, self._placed(await engine.start()))
                self._refuse_twins(served.replica.model)
            except EngineError:
                await self._close(engine)
                raise
            self._served[served.replica.model] = served
            return served

    def _placed(self, replica: Replica) -> Replica:
        return replace(replica, region=replica.region or self._region, site=replica.site or self._site)

    def _refuse_twins(self, model: str) -> None:
        if model in self._served:
            raise EngineUnavailable(f"this node serves a model {model!r} already: give each its own --model-id")

    async def unload(self, model: str) -> None:
        """Free what a model takes; nothing if it is not loaded. Its answers must be over.

        Raises:
            EngineStuck: its engine does not end; it still counts as open.
        """
        served = self._served.pop(model, None)
        if served is not None:
            await self._close(served.engine)

    async def stop(self) -> None:
        """Unload all models, side by side; engines that hang are left behind.

        Raises:
            EngineStuck: one of them hangs.
        """
        self._served.clear()
        ends = await asyncio.gather(*map(_stop_engine, self._open), return_exceptions=True)
        self._open.clear()
        for error in ends:
            if error is not None:
                raise error

    async def _close(self, engine: Engine) -> None:
        await _stop_engine(engine)
        self._open.remove(engine)


async def _stop_engine(engine: Engine) -> None:
    stopping = asyncio.create_task(engine.stop(), name="engine-stop")
    await asyncio.wait((stopping,), timeout=ENGINE_STOP.total_seconds())
    if not stopping.done():
        raise EngineStuck("the engine does not end its work: its process ends without waiting for it")
    stopping.result()
