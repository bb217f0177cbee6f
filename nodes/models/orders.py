"""Taking up and giving up models of the store because the mesh says so; what the owner chose is not touched."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from nodes.engines.host import available_bytes, mapped_bytes
from nodes.errors import EngineStuck, NodeError
from nodes.models.loaded import STORED
from streams import subjects
from streams.codec import decode, encode
from streams.errors import StreamsError
from streams.models.orders import FailedModel, ModelOrder, ModelOrdered, NodeRoom

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link
    from nodes.attempts.worker import Worker
    from nodes.models.serving import Serving
    from nodes.settings import NodeSettings
    from streams.tokens import Token

log = logging.getLogger(__name__)

_LOADS_FILES: Final = frozenset({"xllamacpp", "llama-cpp-python", "synthetic"})
"""Engines that can be given a file of the store; the last one only says that it has it."""

MOST_MODELS: Final = 64
"""As many as an announcement may hold."""


class ModelOrders:
    """Hears ``node.<node>.orders``, obeys one order after the other, and says how far it is."""

    def __init__(
        self,
        link: Link,
        node: Token,
        serving: Serving,
        worker: Worker,
        settings: NodeSettings,
        on_change: Callable[[], None],
    ) -> None:
        """Obey orders for ``node``; ``on_change`` is called whenever ``room`` says something else."""
        self._link = link
        self._node = node
        self._serving = serving
        self._worker = worker
        self._settings = settings
        self._takes_models = settings.takes_models and settings.engine in _LOADS_FILES
        self._on_change = on_change
        self._placed: set[str] = set()
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, str] = {}

    async def listen(self) -> None:
        """Begin to hear orders, if the settings let others decide what runs here."""
        if self._takes_models:
            await self._link.listen(subjects.node_inbox(self._node, "orders"), self._on_order)

    async def stop(self) -> None:
        """Obey no more."""
        tasks = (*self._loading.values(), *self._leaving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def room(self) -> NodeRoom | None:
        """Say what there is room for, and what has become of orders."""
        if not self._takes_models:
            return None
        available = available_bytes()
        return NodeRoom(
            takes_models=True,
            free_memory_bytes=None if available is None else max(0, available - mapped_bytes()),
            disk_bytes=self._settings.model_disk,
            region=self._settings.region,
            placed=tuple(sorted(self._placed)),
            loading=tuple(sorted(self._loading)),
            failed=tuple(FailedModel(model=model, reason=reason) for model, reason in sorted(self._failed.items())),
        )

    def _on_order(self, delivery: Delivery) -> None:
        try:
            order = decode(delivery.data, ModelOrder)
        except StreamsError as error:
            log.warning("ignored what is no order: %s", error)
            return
        objection = self._load(order.model) if order.action == "load" else self._evict(order.model)
        self._link.reply_to(delivery, encode(ModelOrdered(accepted=objection is None, reason=objection or "")))

    def _load(self, model: str) -> str | None:
        if model in self._leaving:
            return "it gives the model up at the moment"
        if model in self._loading or self._worker.engine_of(model) is not None:
            return None
        if len(self._worker.replicas) + len(self._loading) >= MOST_MODELS:
            return f"it serves {MOST_MODELS} models already"
        log.info("told to load %s", model)
        self._failed.pop(model, None)
        self._begin(self._loading, model, self._bring(model))
        return None

    def _evict(self, model: str) -> str | None:
        if model in self._loading:
            self._loading[model].cancel()
            return None
        if model not in self._placed:
            return "it was not told to load the model"
        log.info("told to give up %s", model)
        self._placed.discard(model)
        self._begin(self._leaving, model, self._serving.evict(model))
        return None

    def _begin(self, kept: dict[str, asyncio.Task[None]], model: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._told(model, work), name=f"order-{model}")
        kept[model] = task
        task.add_done_callback(lambda _: self._ended(kept, model))
        self._on_change()

    def _ended(self, kept: dict[str, asyncio.Task[None]], model: str) -> None:
        kept.pop(model, None)
        self._on_change()

    async def _bring(self, model: str) -> None:
        await self._serving.load(self._settings.engine_spec(f"{STORED}{model}", model))
        self._placed.add(model)

    async def _told(self, model: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except EngineStuck:
            # The node ends over this, and whoever started it starts another one.
            log.exception("the order about %s came to nothing", model)
        except NodeError as error:
            log.warning("the order about %s came to nothing: %s", model, error)
            self._failed[model] = str(error)[:512]
        except Exception as error:
            log.exception("the order about %s came to nothing", model)
            self._failed[model] = f"the node failed: {type(error).__name__}"
