"""Putting the file of a model into the store. A push that broke off goes on where it was."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Final

from mesh.bus.appends import Fence
from mesh.bus.headers import SEQUENCE, stamped
from mesh.errors import FenceMismatch, ModelStoreError, PublishUnknown, StoreFull
from mesh.history.stream_facts import last_message
from mesh.models.objects import STREAM, StoredObject, chunk_subject, nuid_of, runs_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from mesh.models.store import ModelStore
    from streams.models.store import StoredModel

_READ_BYTES: Final = 4 << 20
_BATCH: Final = 32
_TRIES: Final = 5
_LEFT_FREE: Final = 4
"""A push leaves one part in so many of the room free: ends and accounts need it more than models do."""


def sha256_of(path: Path, on_fraction: Callable[[float], None]) -> str:
    """Hash a file; ``on_fraction`` is told how far it is, 0 to 1.

    Raises:
        OSError: if it cannot be read.
    """
    digest, done, total = hashlib.sha256(), 0, max(1, path.stat().st_size)
    with path.open("rb", buffering=0) as file:
        while part := file.read(_READ_BYTES):
            digest.update(part)
            done += len(part)
            on_fraction(done / total)
    return digest.hexdigest()


class Push:
    """One file on its way into the store."""

    def __init__(self, store: ModelStore, model: StoredModel, path: Path) -> None:
        """Prepare to push ``path``, which is ``model``."""
        self._store = store
        self._core = store.core
        self._model = model
        self._path = path
        self._nuid = nuid_of(model.name, model.sha256)
        self._subject = chunk_subject(self._nuid)
        self._sequences: list[int] = []

    async def run(self, on_fraction: Callable[[float], None]) -> StoredObject:
        """Store what is missing, and then the model under its name.

        Raises:
            ModelStoreError: if there is no room, or somebody else pushes the same file now.
            BusError: if the store cannot be written; what is stored stays, and the next push goes on from there.
            OSError: if the file cannot be read.
        """
        with self._path.open("rb") as file:
            await self._find_stored(file)
            await self._check_room()
            total = self._model.chunks
            while len(self._sequences) < total:
                on_fraction(len(self._sequences) / total)
                self._sequences.append(await self._append(self._chunk(file, len(self._sequences))))
        on_fraction(1.0)
        stored = StoredObject(model=self._model, nuid=self._nuid, runs=runs_of(self._sequences))
        await self._store.publish(stored)
        return stored

    def _chunk(self, file: BinaryIO, number: int) -> bytes:
        file.seek(number * self._model.chunk_bytes)
        return file.read(self._model.chunk_bytes)

    async def _find_stored(self, file: BinaryIO) -> None:
        """Look what an earlier push has left, and whether it is this file's beginning."""
        first = 1
        while True:
            query = {"seq": first, "next_by_subj": self._subject, "batch": _BATCH}
            answers = await self._core.collect(f"$JS.API.DIRECT.GET.{STREAM}", json.dumps(query).encode())
            for part in answers.parts:
                first = int(stamped(part.headers, SEQUENCE) or 0) + 1
                if part.data != self._chunk(file, len(self._sequences)):
                    await self._store.purge(self._nuid)
                    self._sequences.clear()
                    return
                self._sequences.append(first - 1)
            if not answers.parts:
                return

    async def _check_room(self) -> None:
        missing = self._model.size_bytes - len(self._sequences) * self._model.chunk_bytes
        room = await self._store.room_bytes()
        if room is not None and missing > room - room // _LEFT_FREE:
            raise ModelStoreError(
                f"{self._path} has {missing:,} bytes to store, and of {room:,} that the broker may still store for"
                f" services a quarter stays free: remove models (`ig3 models remove`) or raise store_limit"
            )

    async def _append(self, chunk: bytes) -> int:
        last = self._sequences[-1] if self._sequences else 0
        for _ in range(_TRIES):
            try:
                return await self._core.append(self._subject, chunk, fence=Fence(self._subject, last))
            except StoreFull as error:
                raise ModelStoreError(f"the store has no room for {self._path}: {error}") from error
            except (PublishUnknown, FenceMismatch):
                # It may be stored, and only the answer was lost.
                found = await last_message(self._core, STREAM, self._subject)
                if found is not None and found.sequence > last:
                    if found.data == chunk:
                        return found.sequence
                    break
                await asyncio.sleep(0)
        raise ModelStoreError(f"somebody else pushes {self._path} too, or the store is gone: push again")
