"""Reading one task's events out of its RESULTS stream.

A wildcard read walks the stream to its end (60 ms at 240k messages), one whole subject costs 0.13 ms anywhere: so the
writers are asked for first, then each writer's subject is read, and the pieces are merged by stream sequence.

In a cluster any copy of the stream answers a direct get, also one that lags behind (measured: up to every ninth read
right after an acknowledgement, by 1 to 10 ms), and each question may reach another copy. So who decides by what is
stored asks the stream's leader first how far the task has come, and no piece counts before it reaches as far as its
writer is known to.

What stands on a task's subjects need not be ours: the broker stores its acknowledgement of somebody's message wherever
that message's reply subject says. Such a piece counts for nobody, but the broker's fence counts it: so the bytes are
handed out with the rest, and a task with more writers than any honest one has is read by those that it was assigned to.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct

from mesh.bus.headers import SEQUENCE, STREAM_SUBJECT, stamped, status_code
from mesh.errors import BusError, NoLeader, WrittenByNewer
from streams import subjects
from streams.codec import decode_task_event
from streams.errors import InvalidSubject, InvalidToken, NewerEvent, UndecodableEvent
from streams.events import TaskAssigned
from streams.tasks.task_id import bucket_of
from streams.tokens import is_token, token
from streams.topology import results_stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link
    from streams.events import TaskEvent
    from streams.subjects import TaskKey
    from streams.tokens import Token

_BATCH: Final = 500
_NO_MESSAGE: Final = 10037
_PAUSES_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Far longer than a healthy copy lags behind; one that is cut off would lag for ever."""
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


class _Held(Struct):
    seq: int = 0


class _Error(Struct):
    err_code: int = 0
    description: str = ""


class _LeadersAnswer(Struct):
    message: _Held = msgspec.field(default_factory=_Held)
    error: _Error | None = None


_leaders_answer: Final = msgspec.json.Decoder(_LeadersAnswer)


class TaskLog:
    """Reads tasks from the RESULTS streams by direct gets."""

    def __init__(self, edge: Link, results_streams: int) -> None:
        """Read through ``edge``; ``results_streams`` is the mesh's number of RESULTS streams."""
        self._edge = edge
        self._count = results_streams

    async def read(self, key: TaskKey, *, after_sequence: int = 0) -> list[Stored]:
        """Return the task's events past a stream sequence, in order; what cannot be decoded is left out.

        Raises:
            BusError: if the stream cannot be read now, or has no leader.
        """
        return decoded(await self.read_current(key, after_sequence=after_sequence))

    async def read_current(self, key: TaskKey, *, after_sequence: int = 0) -> list[StoredBytes]:
        """Return the same, not decoded, with whatever else stands there: the broker's fence counts that too.

        Raises:
            BusError: if the stream cannot be read now, or has no leader.
        """
        newest = await self._newest(key, subjects.results_of(key))
        return await self.read_bytes(key, after_sequence=after_sequence, at_least=newest)

    async def read_bytes(self, key: TaskKey, *, after_sequence: int = 0, at_least: int = 0) -> list[StoredBytes]:
        """Return what any copy of the stream has, not decoded, if only it has come as far as ``at_least``.

        Raises:
            BusError: if the stream cannot be read now.
        """
        if 0 < at_least <= after_sequence:
            return []
        last = await self._caught_up(lambda: self.last_of_each_writer(key), at_least)
        if len(last) > _CROWD:
            return await self._read_crowded(key, after_sequence=after_sequence)
        fresh = [stored for stored in last if stored.sequence > after_sequence]
        noise = [stored for stored in fresh if not is_token(stored.writer)]
        reads = (
            self._run(key, token(stored.writer), after_sequence, stored.sequence)
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
        newest = await self._newest(key, subjects.result(key, token(writer)))
        if 0 < newest <= after_sequence:
            return []
        return decoded(await self._run(key, token(writer), after_sequence, newest))

    async def _run(self, key: TaskKey, writer: Token, after_sequence: int, at_least: int) -> list[StoredBytes]:
        return await self._caught_up(lambda: self.read_writer(key, writer, after_sequence=after_sequence), at_least)

    async def _caught_up(self, look: Callable[[], Awaitable[list[StoredBytes]]], at_least: int) -> list[StoredBytes]:
        """Look until a copy answers that is no longer behind; what has just expired is not waited for."""
        for pause_s in _PAUSES_S:
            found = await look()
            if at_least == 0 or (found and (found[-1] is _NOISE or found[-1].sequence >= at_least)):
                return found
            await asyncio.sleep(pause_s)
        return await look()

    async def _newest(self, key: TaskKey, subject_filter: str) -> int:
        """Ask the leader where the last event on a filter stands; 0: nowhere, or there is only one copy to read."""
        if not self._edge.has_choice:
            return 0
        stream = results_stream(bucket_of(key.task), self._count)
        query = json.dumps({"last_by_subj": subject_filter}).encode()
        answer = _leaders_answer.decode((await self._edge.request(f"$JS.API.STREAM.MSG.GET.{stream}", query)).data)
        if answer.error is not None and answer.error.err_code != _NO_MESSAGE:
            raise NoLeader(f"{stream} cannot be read now: {answer.error.description}")
        return answer.message.seq

    async def _get(self, key: TaskKey, query: Mapping[str, object]) -> list[StoredBytes]:
        stream = results_stream(bucket_of(key.task), self._count)
        collected = await self._edge.collect(f"$JS.API.DIRECT.GET.{stream}", json.dumps(query).encode())
        code = status_code(collected.end.headers)
        if code == _TOO_MANY:
            return [_NOISE] * (_CROWD + 1)
        if code not in (_END_OF_BATCH, _NOT_FOUND):
            raise BusError(f"{stream} cannot be read: {collected.end.headers.decode(errors='replace').strip()}")
        return [_stored(part) for part in collected.parts]


def refuse_newer(key: TaskKey, stored: list[StoredBytes], n: int) -> None:
    """See that the marker which follows counter ``n`` is not one that only a newer version can read.

    Raises:
        WrittenByNewer: if it is: whoever went on all the same would write over what it cannot see.
    """
    for sequence, writer, data in stored:
        if writer != subjects.MESH:
            continue
        try:
            decode_task_event(data)
        except NewerEvent as error:
            if error.n == n + 1:
                raise WrittenByNewer(f"task {key.task}, event {sequence}: {error}") from error
        except UndecodableEvent:
            continue


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
