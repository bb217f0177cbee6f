"""Reading one task's events out of its RESULTS stream.

A wildcard read walks the stream to its end (60 ms at 240k messages), one whole subject costs 0.13 ms anywhere: so the
writers are asked for first, then each writer's subject is read, and the pieces are merged by stream sequence.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.bus.headers import SEQUENCE, STREAM_SUBJECT, header, status_code
from mesh.errors import BusError
from streams import subjects
from streams.codec import decode_task_event
from streams.errors import InvalidSubject, UndecodableEvent
from streams.task_id import bucket_of
from streams.tokens import token
from streams.topology import results_stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link
    from streams.events import TaskEvent
    from streams.subjects import TaskKey
    from streams.tokens import Token

_BATCH: Final = 500
_NOT_FOUND: Final = 404
_END_OF_BATCH: Final = 204


class StoredBytes(NamedTuple):
    """One event of a task as the stream holds it, not decoded."""

    sequence: int
    writer: Token
    data: bytes


class Stored(NamedTuple):
    """One event of a task with where it stands and who wrote it."""

    sequence: int
    writer: Token
    event: TaskEvent


class TaskLog:
    """Reads tasks from the RESULTS streams by direct gets."""

    def __init__(self, edge: Link, results_streams: int) -> None:
        """Read through ``edge``; ``results_streams`` is the mesh's number of RESULTS streams."""
        self._edge = edge
        self._count = results_streams

    async def read(self, key: TaskKey, *, after_sequence: int = 0) -> list[Stored]:
        """Return the task's events past a stream sequence, in order; what cannot be decoded is left out.

        Raises:
            BusError: if the stream cannot be read now.
        """
        return decoded(await self.read_bytes(key, after_sequence=after_sequence))

    async def read_bytes(self, key: TaskKey, *, after_sequence: int = 0) -> list[StoredBytes]:
        """Return the same, not decoded."""
        last = await self.last_of_each_writer(key)
        wanted = [stored.writer for stored in last if stored.sequence > after_sequence]
        reads = (self.read_writer(key, writer, after_sequence=after_sequence) for writer in wanted)
        runs = await asyncio.gather(*reads)
        return sorted((stored for run in runs for stored in run), key=lambda stored: stored.sequence)

    async def last_of_each_writer(self, key: TaskKey) -> list[StoredBytes]:
        """Return the latest event of every writer of the task, in stream order."""
        return await self._get(key, {"multi_last": [subjects.results_of(key)], "batch": _BATCH})

    async def read_writer(self, key: TaskKey, writer: Token, *, after_sequence: int = 0) -> list[StoredBytes]:
        """Return what one writer has stored for the task past a sequence."""
        found: list[StoredBytes] = []
        position = after_sequence
        while True:
            query = {"seq": position + 1, "next_by_subj": subjects.result(key, writer), "batch": _BATCH}
            page = await self._get(key, query)
            found += page
            if len(page) < _BATCH:
                return found
            position = page[-1].sequence

    async def read_chunks(self, key: TaskKey, writer: str, *, after_sequence: int) -> list[Stored]:
        """Return what one writer has stored past a sequence, decoded: one look, where all others are known."""
        return decoded(await self.read_writer(key, token(writer), after_sequence=after_sequence))

    async def _get(self, key: TaskKey, query: Mapping[str, object]) -> list[StoredBytes]:
        stream = results_stream(bucket_of(key.task), self._count)
        collected = await self._edge.collect(f"$JS.API.DIRECT.GET.{stream}", json.dumps(query).encode())
        code = status_code(collected.end.headers)
        if code not in (_END_OF_BATCH, _NOT_FOUND):
            raise BusError(f"{stream} cannot be read: {collected.end.headers.decode(errors='replace').strip()}")
        return [_stored(part) for part in collected.parts]


def decoded(stored: list[StoredBytes]) -> list[Stored]:
    """Decode what can be decoded: bytes that are no event count for nobody."""
    events: list[Stored] = []
    for sequence, writer, data in stored:
        try:
            events.append(Stored(sequence, writer, decode_task_event(data)))
        except UndecodableEvent:
            continue
    return events


def _stored(part: Delivery) -> StoredBytes:
    subject = header(part.headers, STREAM_SUBJECT)
    sequence = header(part.headers, SEQUENCE)
    if subject is None or sequence is None:
        raise InvalidSubject("a direct get answered without subject or sequence")
    return StoredBytes(int(sequence), subjects.parse_result(subject).writer, part.data)
