"""Every task's log folded once more, and compared with its end and with what its dispatcher has made of it.

The mesh goes on meanwhile. The services are asked first, then RESULTS is read, then ENDED: so what a service has seen
is there, and a marker's end is there. A task that still differs is looked at once more, by itself, before it is named.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.history.ordered import OrderedReader
from mesh.history.stream_facts import last_message, stream_facts
from mesh.inspection.findings import Comparison, Difference
from mesh.inspection.task_fold import TaskFold
from mesh.inspection.verify_dead import DeadEnd
from streams import subjects
from streams.codec import decode_end_event
from streams.errors import StreamsError, UndecodableEvent
from streams.events import TaskDead
from streams.subjects import TaskKey
from streams.tasks.task_id import created_ms
from streams.tokens import Token
from streams.topology import ENDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from mesh.bus.service_bus import Bus
    from mesh.history.stream_facts import Recorded
    from streams.events import EndEvent
    from streams.messages import Projections, TaskDigest

_WAIT_S: Final = 5.0
_ENDS: Final = "ends"
_RUNNING: Final = "running tasks"


class TaskFindings(NamedTuple):
    """What came of it."""

    comparisons: list[Comparison]
    differences: list[Difference]
    refused_writes: int
    noise: int
    dead: dict[TaskKey, DeadEnd]
    """The ends that say that a task is dead."""


async def verify_tasks(
    bus: Bus, results: Sequence[str], answers: Iterable[Projections], erased: Mapping[Token, int]
) -> TaskFindings:
    """Fold all of RESULTS and compare.

    Args:
        bus: a bus of a service.
        results: the names of the RESULTS streams.
        answers: what services say of the tasks that they hold, asked before this.
        erased: accounts whose content was erased, and up to when (Unix milliseconds): only ends are left there.

    Raises:
        BusError: if a stream cannot be read.
    """
    return await _Verification(bus, answers, erased).run(results)


class _Verification:
    """One run through all tasks."""

    def __init__(self, bus: Bus, answers: Iterable[Projections], erased: Mapping[Token, int]) -> None:
        self._bus = bus
        self._erased = erased
        self._claims: dict[TaskKey, list[tuple[str, TaskDigest]]] = {}
        for answer in answers:
            for task in answer.tasks:
                key = TaskKey(Token(task.account), Token(task.task))
                self._claims.setdefault(key, []).append((answer.service, task))
        self._folds: dict[TaskKey, TaskFold] = {}
        self._places: dict[str, tuple[TaskFold, str] | None] = {}
        self._cut_before_ms = 0
        self._stray_noise = 0
        self._events = 0
        self._differences: list[Difference] = []
        self._dead: dict[TaskKey, DeadEnd] = {}

    async def run(self, results: Sequence[str]) -> TaskFindings:
        begun = time.monotonic()
        for stream in results:
            await self._read_results(stream)
        running = self._judge_running()
        folded_s = time.monotonic() - begun
        ends = await self._judge_ends(folded_s)
        whole = [fold for fold in self._folds.values() if not fold.is_cut]
        return TaskFindings(
            [running, ends],
            self._differences,
            sum(fold.refused for fold in whole),
            self._stray_noise + sum(fold.noise for fold in self._folds.values()),
            self._dead,
        )

    # --- RESULTS -----------------------------------------------------------------------------------------------------

    async def _read_results(self, stream: str) -> None:
        facts = await stream_facts(self._bus.edge, stream)
        if facts.first_sequence > 1:
            self._cut_before_ms = max(self._cut_before_ms, _milliseconds(facts.first_at))
        async with OrderedReader(self._bus.edge, stream) as reader:
            while not reader.is_caught_up:
                for recorded in await reader.take(wait_s=_WAIT_S):
                    self._take(recorded)

    def _take(self, recorded: Recorded) -> None:
        self._events += 1
        if recorded.subject not in self._places:
            self._places[recorded.subject] = self._place(recorded.subject)
        place = self._places[recorded.subject]
        if place is None:
            self._stray_noise += 1
        else:
            place[0].take(recorded.sequence, place[1], recorded.data)

    def _place(self, subject: str) -> tuple[TaskFold, str] | None:
        try:
            key, writer = subjects.parse_result(subject)
        except StreamsError:
            return None
        if key not in self._folds:
            self._folds[key] = TaskFold(tuple(self._claims.get(key, ())))
        return self._folds[key], writer

    # --- what dispatchers hold ---------------------------------------------------------------------------------------

    def _judge_running(self) -> Comparison:
        for key in self._claims.keys() - self._folds.keys():
            # Nothing is stored of it yet, as of a task that has just come.
            self._folds[key] = TaskFold(tuple(self._claims[key]))
        different = 0
        for key, fold in self._folds.items():
            fold.finish()
            for service, claim in fold.differing if not self._is_cut(key, fold) else ():
                different += 1
                detail = (
                    f"{service} has come to counter {claim.n}, at sequence {claim.sequence} the log adds up to another"
                )
                self._differences.append(Difference(projection=_RUNNING, where=_name(key), detail=detail))
        services = {service for claims in self._claims.values() for service, _ in claims}
        return Comparison(
            projection=_RUNNING,
            compared_with=f"{len(services)} dispatchers",
            events=self._events,
            compared=sum(len(claims) for claims in self._claims.values()),
            different=different,
            took_s=0.0,
        )

    def _is_cut(self, key: TaskKey, fold: TaskFold) -> bool:
        """Whether the task's first events have expired: then its log says nothing any more.

        A task of the very millisecond of the cut may have lost its first event to it.
        """
        return fold.state.n == 0 and 0 < created_ms(key.task) <= self._cut_before_ms

    def _is_erased(self, key: TaskKey, end: EndEvent | None) -> bool:
        """Whether what led to the end was erased, at its account's wish."""
        return end is not None and end.at_ms <= self._erased.get(key.account, 0)

    # --- ENDED -------------------------------------------------------------------------------------------------------

    async def _judge_ends(self, folded_s: float) -> Comparison:
        begun = time.monotonic()
        ends, unreadable = await self._read_ends()
        expired, untold, different = 0, 0, unreadable
        for key in ends.keys() | self._folds.keys():
            fold, end = self._folds.get(key) or TaskFold(), ends.get(key)
            is_cut = self._is_cut(key, fold) or self._is_erased(key, end)
            if isinstance(end, TaskDead):
                self._dead[key] = DeadEnd(end, is_told=is_cut or fold.before_end is not None)
            if is_cut:
                expired += 1
                continue
            untold += end is not None and fold.before_end is None
            if fold.against(end):
                different += await self._look_again(key)
        notes = [f"{expired} erased, or too old to compare"] if expired else []
        notes += [f"{untold} not told to readers yet"] if untold else []
        return Comparison(
            projection=_ENDS,
            compared_with=ENDED,
            events=self._events + len(ends),
            compared=len(ends) - expired,
            different=different,
            took_s=folded_s + time.monotonic() - begun,
            note=", ".join(notes),
        )

    async def _read_ends(self) -> tuple[dict[TaskKey, EndEvent], int]:
        ends: dict[TaskKey, EndEvent] = {}
        unreadable = 0
        async with OrderedReader(self._bus.core, ENDED) as reader:
            while not reader.is_caught_up:
                for recorded in await reader.take(wait_s=_WAIT_S):
                    detail = self._keep_end(ends, recorded)
                    if detail:
                        unreadable += 1
                        self._differences.append(
                            Difference(projection=_ENDS, where=f"sequence {recorded.sequence}", detail=detail)
                        )
        return ends, unreadable

    def _keep_end(self, ends: dict[TaskKey, EndEvent], recorded: Recorded) -> str:
        try:
            key = subjects.parse_ended(recorded.subject)
            event = decode_end_event(recorded.data)
        except StreamsError as error:
            return str(error)
        if key in ends:
            return f"a second end of task {key.task}"
        ends[key] = event
        return ""

    async def _look_again(self, key: TaskKey) -> int:
        """Look at one task by itself, now that it has gone on; returns 1 if it still differs."""
        end = await self._end_of(key)
        fold = TaskFold()
        for sequence, writer, data in await self._bus.log.read_current(key):
            fold.take(sequence, writer, data)
        details = fold.against(end)
        self._differences += [Difference(projection=_ENDS, where=_name(key), detail=detail) for detail in details]
        return 1 if details else 0

    async def _end_of(self, key: TaskKey) -> EndEvent | None:
        recorded = await last_message(self._bus.core, ENDED, subjects.ended(key))
        try:
            return None if recorded is None else decode_end_event(recorded.data)
        except UndecodableEvent:
            return None


def _name(key: TaskKey) -> str:
    return f"{key.account}/{key.task}"


def _milliseconds(at: datetime | None) -> int:
    return 0 if at is None else round(at.timestamp() * 1000)
