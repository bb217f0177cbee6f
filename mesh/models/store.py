"""The model store, for services and operators: put files of models there, list them, read their chunks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mesh.errors import BusError, ModelStoreError
from mesh.history.stream_facts import last_message, last_messages, message_at, stream_names
from mesh.models.objects import (
    META_ALL,
    ROLLUP,
    STREAM,
    chunk_subject,
    decode_object,
    encode_object,
    encode_removed,
    meta_subject,
    stream_config,
)

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.models.objects import StoredObject

_MOST: int = 1000
"""How many models are listed."""


class ModelStore:
    """The store, over a connection in CORE."""

    def __init__(self, core: Link) -> None:
        """Use ``core``; nothing is asked yet."""
        self.core = core

    async def is_there(self) -> bool:
        """Whether anything was ever pushed.

        Raises:
            BusError: if the broker cannot be asked.
        """
        return STREAM in await stream_names(self.core)

    async def make(self, replicas: int) -> None:
        """Make the store's stream, unless it is there.

        Raises:
            BusError: if the broker will not.
        """
        if not await self.is_there():
            await self._call(f"STREAM.CREATE.{STREAM}", stream_config(replicas))

    async def find(self, name: str) -> StoredObject | None:
        """Return what is stored under a name, or None.

        Raises:
            BusError: if the store cannot be read.
            ModelStoreError: if what stands there is not ours.
        """
        if not await self.is_there():
            return None
        message = await last_message(self.core, STREAM, meta_subject(name))
        return None if message is None else decode_object(message.data)

    async def need(self, name: str) -> StoredObject:
        """Return what is stored under a name.

        Raises:
            ModelStoreError: if there is none of this name, or it is not ours.
            BusError: if the store cannot be read.
        """
        stored = await self.find(name)
        if stored is None:
            raise ModelStoreError(f"the store has no model {name!r}: `ig3 models list` shows what it has")
        return stored

    async def list_all(self) -> tuple[StoredObject, ...]:
        """Return every model of the store, by name.

        Raises:
            BusError: if the store cannot be read.
            ModelStoreError: if what stands there is not ours.
        """
        if not await self.is_there():
            return ()
        messages = await last_messages(self.core, STREAM, (META_ALL,), most=_MOST)
        found = [stored for message in messages if (stored := decode_object(message.data)) is not None]
        return tuple(sorted(found, key=lambda stored: stored.model.name))

    async def chunk(self, stored: StoredObject, number: int) -> bytes | None:
        """Return one chunk, counted from 0; None if it is not there any more.

        Raises:
            IndexError: if the model never had so many.
            BusError: if the store cannot be read.
        """
        message = await message_at(self.core, STREAM, stored.sequence_of(number))
        is_it = message is not None and message.subject == chunk_subject(stored.nuid)
        return message.data if message is not None and is_it else None

    async def publish(self, stored: StoredObject) -> None:
        """Have a model be there under its name, whose chunks are stored, in the place of an earlier one.

        Raises:
            BusError: if it is not stored, or that is not known.
        """
        before = await self.find(stored.model.name)
        await self.core.append(meta_subject(stored.model.name), encode_object(stored), headers=(ROLLUP,))
        if before is not None and before.nuid != stored.nuid:
            await self.purge(before.nuid)

    async def remove(self, name: str) -> StoredObject:
        """Remove a model; nodes that have it keep it.

        Raises:
            ModelStoreError: if there is none of this name.
            BusError: if the store cannot be changed.
        """
        stored = await self.need(name)
        await self.core.append(meta_subject(name), encode_removed(name), headers=(ROLLUP,))
        await self.purge(stored.nuid)
        return stored

    async def purge(self, nuid: str) -> None:
        """Delete the chunks of an object.

        Raises:
            BusError: if the broker will not.
        """
        await self._call(f"STREAM.PURGE.{STREAM}", {"filter": chunk_subject(nuid)})

    async def room_bytes(self) -> int | None:
        """Return how much may still be stored in CORE; None: there is no limit.

        Raises:
            BusError: if the broker cannot be asked.
        """
        info = await self._call("INFO", {})
        limit = int(info.get("limits", {}).get("max_storage", -1))
        return None if limit < 0 else limit - int(info.get("storage", 0))

    async def _call(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self.core.request(f"$JS.API.{verb}", json.dumps(body).encode() if body else b"")
        found: dict[str, Any] = json.loads(answer.data)
        if (error := found.get("error")) is not None:
            raise BusError(f"the model store: {error.get('description')}")
        return found
