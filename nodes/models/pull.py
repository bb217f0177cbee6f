"""Fetching a model from the store onto this device: many chunks under way, written in order, believed by the hash."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from mesh.errors import BusError, BusUnavailable
from nodes.errors import EngineUnavailable
from nodes.models.cache import hash_of
from nodes.models.gguf import read_header
from nodes.pauses import pause_s
from streams import subjects
from streams.codec import encode
from streams.messages import Refusal
from streams.models.store import (
    TOO_MANY_REQUESTS,
    ChunkRequest,
    ModelChunk,
    ModelOffer,
    ModelQuestion,
    StoredModel,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.link import Link
    from nodes.models.cache import ModelCache, Part
    from streams.subjects import NodeVerb
    from streams.tokens import Token
    from streams.wire import Wire

log = logging.getLogger(__name__)

T = TypeVar("T")

_offer_reply: Final = msgspec.msgpack.Decoder(ModelOffer | Refusal)
_chunk_reply: Final = msgspec.msgpack.Decoder(ModelChunk | Refusal)

WINDOW: Final = 12
"""Chunks under way; fewer than a service allows a device."""

_TIMEOUT: Final = timedelta(seconds=10)
_TRIES: Final = 8
_LOOK_S: Final = 0.2


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the store that is on this disk, whole and checked."""

    model: StoredModel
    path: Path


class ModelPuller:
    """Fetches models for one node."""

    def __init__(self, link: Link, node: Token, cache: ModelCache) -> None:
        """Fetch by ``link`` into ``cache``."""
        self._link = link
        self._node = node
        self._cache = cache

    async def pull(self, name: str, on_fraction: Callable[[float], None]) -> Pulled:
        """Bring the newest file of this name here, or find it here, and hold it until ``let_go``.

        A fetch that breaks off leaves what it has, and the next one goes on from there.

        Raises:
            EngineUnavailable: the store has no such model, there is no room, or what came is not what was promised.
            BusUnavailable: the connection is closed for good.
        """
        model = (await self._ask("model", ModelQuestion(name=name), _offer_reply, name)).model
        while (path := await self._from_disk(model)) is None:
            await self._fetch(model, on_fraction)
        on_fraction(1.0)
        return Pulled(model=model, path=path)

    def let_go(self, model: StoredModel) -> None:
        """Use a model no more: its file may be deleted when room is needed."""
        self._cache.let_go(model.sha256)

    async def _from_disk(self, model: StoredModel) -> Path | None:
        path = self._cache.hold(model.sha256)
        if path is None:
            return None
        if await asyncio.to_thread(hash_of, path) != model.sha256:
            log.warning("%s is damaged on this disk: it is fetched again", path)
            self._cache.discard(model.sha256)
            return None
        try:
            await asyncio.to_thread(read_header, path)
        except EngineUnavailable:
            self._cache.discard(model.sha256)
            raise
        return path

    async def _fetch(self, model: StoredModel, on_fraction: Callable[[float], None]) -> None:
        part = self._cache.open_part(model.sha256)
        if part is None:
            # Another node of this machine fetches it.
            await asyncio.sleep(_LOOK_S)
            return
        try:
            await asyncio.to_thread(self._cache.make_room, model.sha256, model.size_bytes)
            await asyncio.to_thread(part.resume, model.chunk_bytes, model.size_bytes)
            await self._fill(model, part, on_fraction)
            _check(model, part)
            await asyncio.to_thread(part.finish)
        except OSError as error:
            raise EngineUnavailable(f"cannot write {part.path}: {error.strerror}") from error
        finally:
            part.close()

    async def _fill(self, model: StoredModel, part: Part, on_fraction: Callable[[float], None]) -> None:
        numbers = iter(range(part.size_bytes // model.chunk_bytes, model.chunks))
        under_way: deque[asyncio.Task[bytes]] = deque()
        try:
            while part.size_bytes < model.size_bytes:
                while len(under_way) < WINDOW and (number := next(numbers, None)) is not None:
                    under_way.append(asyncio.create_task(self._chunk(model, number)))
                await asyncio.to_thread(part.add, await under_way[0])
                under_way.popleft()
                on_fraction(part.size_bytes / model.size_bytes)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _chunk(self, model: StoredModel, number: int) -> bytes:
        request = ChunkRequest(name=model.name, sha256=model.sha256, number=number)
        data = (await self._ask("chunk", request, _chunk_reply, model.name)).data
        is_last = number == model.chunks - 1
        expected = model.size_bytes - number * model.chunk_bytes if is_last else model.chunk_bytes
        if len(data) != expected:
            raise EngineUnavailable(f"chunk {number} of {model.name!r} has {len(data)} bytes instead of {expected}")
        return data

    async def _ask(self, verb: NodeVerb, question: Wire, reply: msgspec.msgpack.Decoder[T | Refusal], name: str) -> T:
        """Ask a service, again while it has no time or does not answer."""
        subject, problem = subjects.node_api(self._node, verb), ""
        for tries in range(1, _TRIES + 1):
            try:
                answer = await self._link.request(subject, encode(question), timeout=_TIMEOUT)
                said = reply.decode(answer.data)
            except BusUnavailable:
                raise
            except (BusError, msgspec.DecodeError) as error:
                problem = str(error)
            else:
                if not isinstance(said, Refusal):
                    return said
                problem = said.message
                if said.status < 500 and said.code != TOO_MANY_REQUESTS:
                    break
            await asyncio.sleep(pause_s(tries))
        raise EngineUnavailable(f"the model {name!r} cannot be fetched: {problem}")


def _check(model: StoredModel, part: Part) -> None:
    """Refuse, and delete, what is not the file that was promised, or is no sound model."""
    if part.sha256 != model.sha256:
        part.delete()
        raise EngineUnavailable(
            f"what came as {model.name!r} has the hash {part.sha256} instead of {model.sha256}: it was deleted"
        )
    try:
        read_header(part.path)
    except EngineUnavailable:
        part.delete()
        raise
