"""Devices fetch models here: they have no right to the Object Store, so a service hands them chunk after chunk.

Any service may answer any chunk. Who asks chooses the pace: each device may have so many chunks under way, and a
service reads so many at once, so that no device fills the memory of a service or of the broker.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from gateway.requests import Desk
from mesh.errors import ModelStoreError
from mesh.models.store import ModelStore
from streams import subjects
from streams.messages import Refusal
from streams.models.store import (
    MODEL_CHANGED,
    MODEL_NOT_STORED,
    TOO_MANY_REQUESTS,
    ChunkRequest,
    ModelChunk,
    ModelOffer,
    ModelQuestion,
)

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.service_bus import Bus
    from mesh.models.objects import StoredObject
    from streams.tokens import Token

CHUNKS_OF_A_DEVICE: Final = 16
"""So many may be under way to one device, at one service."""

_CHUNKS_AT_ONCE: Final = 32
_QUEUE: Final = "models"
_KNOWN: Final = 64
"""Of so many models a desk remembers where their chunks are."""


class ModelDesk:
    """Answers what the store has, and its chunks."""

    def __init__(self, bus: Bus) -> None:
        """Serve on ``bus``; best one of its own, since chunks are long."""
        self._store = ModelStore(bus.core)
        self._desk = Desk(bus.edge)
        self._known: dict[tuple[str, str], StoredObject] = {}
        self._under_way: Counter[Token] = Counter()
        self._reading = asyncio.Semaphore(_CHUNKS_AT_ONCE)

    async def start(self) -> None:
        """Begin to serve."""
        api, inbox_of = subjects.node_api_all, subjects.inbox_of_node_call
        await self._desk.serve(api("model"), ModelQuestion, self._offer, queue=_QUEUE, inbox_of=inbox_of)
        await self._desk.serve(api("chunk"), ChunkRequest, self._chunk, queue=_QUEUE, inbox_of=inbox_of)

    async def stop(self) -> None:
        """Serve no more."""
        await self._desk.stop()

    async def _offer(self, _: Delivery, question: ModelQuestion) -> ModelOffer | Refusal:
        try:
            stored = await self._store.find(question.name)
        except ModelStoreError as error:
            return Refusal(code=MODEL_NOT_STORED, message=str(error), status=404)
        if stored is None:
            return _not_stored(question.name)
        self._remember(stored)
        return ModelOffer(model=stored.model)

    async def _chunk(self, delivery: Delivery, request: ChunkRequest) -> ModelChunk | Refusal:
        device = subjects.parse_call(delivery.subject).caller
        if self._under_way[device] >= CHUNKS_OF_A_DEVICE:
            message = f"This device has {CHUNKS_OF_A_DEVICE} chunks under way; wait for one of them."
            return Refusal(code=TOO_MANY_REQUESTS, message=message, status=429)
        self._under_way[device] += 1
        try:
            async with self._reading:
                return await self._read(request)
        finally:
            self._under_way[device] -= 1
            if not self._under_way[device]:
                del self._under_way[device]

    async def _read(self, request: ChunkRequest) -> ModelChunk | Refusal:
        key = (request.name, request.sha256)
        stored = self._known.get(key) or await self._store.find(request.name)
        if stored is None:
            return _not_stored(request.name)
        if stored.model.sha256 != request.sha256:
            return _changed(request)
        self._remember(stored)
        if request.number >= stored.model.chunks:
            message = f"{request.name!r} has {stored.model.chunks} chunks; there is no number {request.number}."
            return Refusal(code="invalid_value", message=message, status=400)
        data = await self._store.chunk(stored, request.number)
        if data is None:
            self._known.pop(key, None)
            return _changed(request)
        return ModelChunk(data=data)

    def _remember(self, stored: StoredObject) -> None:
        key = (stored.model.name, stored.model.sha256)
        self._known.pop(key, None)
        self._known[key] = stored
        while len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]


def _not_stored(name: str) -> Refusal:
    return Refusal(code=MODEL_NOT_STORED, message=f"The model store has no {name!r}.", status=404)


def _changed(request: ChunkRequest) -> Refusal:
    message = f"The model store has another {request.name!r} by now, or none: ask again what it has."
    return Refusal(code=MODEL_CHANGED, message=message, status=409)
