"""Reading one task's events out of its RESULTS stream.

A wildcard read walks the stream to its end (60 ms at 240k messages), one whole subject costs 0.13 ms anywhere: so the
writers are asked for first, then each writer's subject is read, and the pieces are merged by stream sequence.

What stands on a task's subjects need not be ours: the broker stores its acknowledgement of somebody's message wherever
that message's reply subject says. Such a piece counts for nobody, but the broker's fence counts it: so the bytes are
handed out with the rest, and a task with more writers than any honest one has is read by those that it was assigned to.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.bus.headers import SEQUENCE, STREAM_SUBJECT, stamped, status_code
from mesh.errors import BusError
from streams import subjects
from streams.codec import decode_task_event
from streams.errors import InvalidSubject, InvalidToken, UndecodableEvent
from streams.events import TaskAssigned
from streams.task_id import bucket_of
from streams.tokens import is_token, token
from streams.topology import results_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link
    from streams.events import TaskEvent
    from streams.subjects import TaskKey
    from streams.tokens import Token

_BATCH: Final = 500
_NOT_FOUND: Final = 404
_END_OF_BATCH: Final = 204
_TOO_MANY: Final = 413
_CROWD: Final = 64
"""More writers than attempts that any task has: the rest is noise."""


class StoredBytes(NamedTuple):
    """One event of a task as the stream holds it, not decoded."""

    sequence: int
    writer: str
    """The last token of the subject, which need not be one of ours."""
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
        if len(last) > _CROWD:
            return await self._read_crowded(key, after_sequence=after_sequence)
        fresh = [stored for stored in last if stored.sequence > after_sequence]
        noise = [stored for stored in fresh if not is_token(stored.writer)]
        reads = (
            self.read_writer(key, token(stored.writer), after_sequence=after_sequence)
            for stored in fresh
            if is_token(stored.writer)
        )
        return _merged((noise, *await asyncio.gather(*reads)))

    async def last_of_each_writer(self, key: TaskKey) -> list[StoredBytes]:
        """Return the latest event of every writer of the task, in stream order; at most some hundreds of them."""
        return await self._get(key, {"multi_last": [subjects.results_of(key)], "batch": _BATCH})

    async def last_of_writer(self, key: TaskKey, writer: Token) -> StoredBytes | None:
        """Return the latest event of one writer of the task; None if it has written nothing."""
        found = await self._get(key, {"multi_last": [subjects.result(key, writer)], "batch": 1})
        return found[0] if found else None

    async def _read_crowded(self, key: TaskKey, *, after_sequence: int) -> list[StoredBytes]:
        """Read the markers, then who they name; of all others only where the newest stands."""
        newest = await self._last(key)
        markers = await self.read_writer(key, subjects.MESH)
        assigned = {event.node for _, _, event in decoded(markers) if isinstance(event, TaskAssigned)}
        runs = await asyncio.gather(*(self.read_writer(key, token(node)) for node in assigned))
        merged = _merged((markers, *runs))
        if newest is not None and (not merged or newest.sequence > merged[-1].sequence):
            merged.append(newest)
        return [stored for stored in merged if stored.sequence > after_sequence]

    async def _last(self, key: TaskKey) -> StoredBytes | None:
        stream = results_stream(bucket_of(key.task), self._count)
        query = json.dumps({"last_by_subj": subjects.results_of(key)}).encode()
        answer = await self._edge.request(f"$JS.API.DIRECT.GET.{stream}", query)
        return None if status_code(answer.headers) is not None else _stored(answer)

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
        if code == _TOO_MANY:
            return [_NOISE] * (_CROWD + 1)
        if code not in (_END_OF_BATCH, _NOT_FOUND):
            raise BusError(f"{stream} cannot be read: {collected.end.headers.decode(errors='replace').strip()}")
        return [_stored(part) for part in collected.parts]


def decoded(stored: list[StoredBytes]) -> list[Stored]:
    """Decode what can be decoded: bytes that are no event count for nobody."""
    events: list[Stored] = []
    for sequence, writer, data in stored:
        try:
            events.append(Stored(sequence, token(writer), decode_task_event(data)))
        except (InvalidToken, UndecodableEvent):
            continue
    return events


def _stored(part: Delivery) -> StoredBytes:
    subject = stamped(part.headers, STREAM_SUBJECT)
    sequence = stamped(part.headers, SEQUENCE)
    if subject is None or sequence is None:
        raise InvalidSubject("a direct get answered without subject or sequence")
    return StoredBytes(int(sequence), subject.rpartition(".")[2], part.data)


def _merged(runs: Iterable[list[StoredBytes]]) -> list[StoredBytes]:
    return sorted((stored for run in runs for stored in run), key=lambda stored: stored.sequence)


_NOISE: Final = StoredBytes(0, "", b"")
"""Stands for writers that the broker will not list, being too many."""
