"""The models that one node has loaded: how they come, and how they go."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import structs

from nodes.engine import Loading
from nodes.engines import open_engine
from nodes.engines.embedding import open_embedding_engine
from nodes.errors import EngineError, EngineStuck, EngineUnavailable
from streams.devices.replica import MOST_SLOTS

if TYPE_CHECKING:
    from nodes.embedding import AnyEngine, EmbeddingSpec
    from nodes.engine import EngineSpec, OnLoading
    from nodes.models.pull import ModelPuller, Pulled
    from streams.devices.replica import Replica

_LARGEST_FETCHED: Final = 0.95

ENGINE_STOP: Final = timedelta(seconds=10)
"""How long an engine may take to end what it is doing."""


TASKS_A_SLOT: Final = 4
"""So many tasks share a slot of an engine that turns texts into vectors: each asks for a few texts, then the next has
its turn. So a short question does not wait for the end of a thousand passages."""

STORED: Final = "store:"
"""What stands before the name of a model of the store, where else a path would be."""


class Served(NamedTuple):
    """A model that this node serves: the engine that runs it, and what was announced of it."""

    engine: AnyEngine
    replica: Replica


class LoadedModels:
    """One engine for each model. They are loaded one after the other: what fits is told from what the others left."""

    def __init__(
        self, puller: ModelPuller | None = None, *, region: str | None = None, site: str | None = None
    ) -> None:
        """Begin with no model; without ``puller`` there is no model store.

        Of each model it is said where it is, unless its engine says that of itself.
        """
        self._puller = puller
        self._pulled: dict[str, Pulled] = {}
        self._region = region
        self._site = site
        self._served: dict[str, Served] = {}
        self._open: list[AnyEngine] = []
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
            pulled = await self._pull(spec, on_loading)
            if pulled is not None:
                spec = structs.replace(spec, model=str(pulled.path), model_id=spec.model_id or pulled.model.name)
            try:
                served = await self._start(open_engine(spec, on_loading))
            except BaseException:
                self._let_go(pulled)
                raise
            self._served[served.replica.model] = served
            if pulled is not None:
                self._pulled[served.replica.model] = pulled
            return served

    async def start(self, engine: AnyEngine) -> Served:
        """Start an engine that is open already, and count its model among those that are loaded.

        Raises:
            EngineError: as `load`.
            EngineStuck: as `load`.
        """
        async with self._loading:
            served = await self._start(engine)
            self._served[served.replica.model] = served
            return served

    async def _start(self, engine: AnyEngine) -> Served:
        # From here on ``stop`` knows it, whatever becomes of the start.
        self._open.append(engine)
        try:
            served = Served(engine, self._placed(await engine.start()))
            self._refuse_twins(served.replica.model)
        except (EngineError, asyncio.CancelledError):
            await self._close(engine)
            raise
        return served

    async def load_embedding(self, spec: EmbeddingSpec, on_loading: OnLoading | None = None) -> Served:
        """Open an engine that turns texts into vectors, on one more model.

        Raises:
            EngineError: as `load`.
            EngineStuck: as `load`.
        """
        async with self._loading:
            engine, replica = await self._start(open_embedding_engine(spec))
            slots = min(replica.slots * TASKS_A_SLOT, MOST_SLOTS)
            served = Served(engine, structs.replace(replica, slots=slots, shortens=spec.shortens))
            self._served[replica.model] = served
        if on_loading is not None:
            on_loading(Loading(stage="ready", fraction=1.0))
        return served

    def _let_go(self, pulled: Pulled | None) -> None:
        if pulled is not None and self._puller is not None:
            self._puller.let_go(pulled.model)

    async def _pull(self, spec: EngineSpec, on_loading: OnLoading | None) -> Pulled | None:
        if not spec.model.startswith(STORED):
            return None
        if self._puller is None:
            raise EngineUnavailable(f"there is no model store to take {spec.model!r} from")
        return await self._puller.pull(spec.model.removeprefix(STORED), partial(_tell_fetched, on_loading))

    def _placed(self, replica: Replica) -> Replica:
        return structs.replace(replica, region=replica.region or self._region, site=replica.site or self._site)

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
        self._let_go(self._pulled.pop(model, None))

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

    async def _close(self, engine: AnyEngine) -> None:
        await _stop_engine(engine)
        self._open.remove(engine)


def _tell_fetched(on_loading: OnLoading | None, fraction: float) -> None:
    if on_loading is not None:
        # The whole is there only when it is loaded.
        on_loading(Loading(stage="fetching", fraction=fraction * _LARGEST_FETCHED))


async def _stop_engine(engine: AnyEngine) -> None:
    stopping = asyncio.create_task(engine.stop(), name="engine-stop")
    await asyncio.wait((stopping,), timeout=ENGINE_STOP.total_seconds())
    if not stopping.done():
        raise EngineStuck("the engine does not end its work: its process ends without waiting for it")
    stopping.result()
