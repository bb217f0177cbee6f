"""Following one task from anywhere: live where possible, from the stream where something was missed.

Any process can follow any task from any counter and gets every valid event once, in order: what is live may be late,
lost or refused, what is stored decides, and the validity rule (``streams.tasks.task``) says what counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from mesh.bus.live import LiveEvent
from mesh.errors import WrittenByNewer
from streams.codec import decode_task_event
from streams.errors import NewerEvent, UndecodableEvent
from streams.events import TaskAssigned, TaskChunk
from streams.subjects import MESH
from streams.tasks.answer_parts import joined_calls
from streams.tasks.chat import ToolCall
from streams.tasks.task import Rejection, TaskState, advance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from mesh.bus.live import LiveFeed, Watch
    from mesh.bus.task_log import TaskLog
    from streams.events import TaskEvent
    from streams.subjects import TaskKey
    from streams.tasks.answer_parts import TokenLogprob, ToolCallPiece
    from streams.tasks.vectors import Vectors

IDLE_CHECK_S: Final = 2.0
"""A reader that hears nothing for so long looks into the stream: a leader change can drop a live message."""


_ENDS: Final = 512
"""A marker is stored milliseconds after the end is a fact."""


class Step(NamedTuple):
    """One valid event of a task, and what the task has become by it."""

    event: TaskEvent
    writer: str
    state: TaskState

    @property
    def restarts(self) -> bool:
        """Whether the text so far is void and the answer begins again (ADR 8): whoever has shown it takes it back."""
        return isinstance(self.event, TaskAssigned) and self.event.seam == "restarted"


class AnswerText:
    """An answer as its events add up, its text and what is beside it, or its vectors.

    Pieces are added; a restart drops them all.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._pieces: list[str] = []
        self._calls: list[ToolCallPiece] = []
        self._logprobs: list[TokenLogprob] = []
        self._vectors: list[Vectors] = []

    def take(self, steps: Iterable[Step]) -> None:
        """Add what these steps say."""
        for step in steps:
            event = step.event
            if isinstance(event, TaskChunk):
                self._pieces.append(event.text)
                self._calls.extend(event.tool_calls)
                self._logprobs.extend(event.logprobs)
                if event.vectors is not None:
                    self._vectors.append(event.vectors)
            elif step.restarts:
                self._pieces.clear()
                self._calls.clear()
                self._logprobs.clear()
                self._vectors.clear()

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The functions that it calls, in their order; before the end the last may not be whole."""
        return tuple(
            ToolCall(id=call.id or f"call_{call.index}", name=call.name, arguments=call.arguments)
            for call in joined_calls(self._calls)
            # Nobody can answer a call of no name.
            if call.name is not None
        )

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...]:
        """How likely each token of the text was, where that was asked for."""
        return tuple(self._logprobs)

    @property
    def vectors(self) -> tuple[bytes, ...]:
        """Each vector so far by itself, in the order of the texts: 32-bit floats, the least byte first."""
        return tuple([vector for block in self._vectors for vector in block.parted()])

    def __str__(self) -> str:
        """The text so far."""
        return "".join(self._pieces)


class TaskSource(Protocol):
    """Where a reader gets a task from. ``fetch`` may return more than was asked for, never less."""

    def watch(self, key: TaskKey) -> Watch:
        """Follow what is stored from now on."""
        ...

    async def fetch(self, key: TaskKey, *, after_n: int, after_sequence: int) -> list[LiveEvent]:
        """Return what is stored past a counter (or past a stream sequence, where 0 is before all), in order."""
        ...


class ServiceSource:
    """A task as services see it: straight from the streams."""

    def __init__(self, feed: LiveFeed, log: TaskLog) -> None:
        """Follow ``feed``, catch up from ``log``."""
        self._feed = feed
        self._log = log
        self._ends: dict[TaskKey, LiveEvent] = {}
        """Of the tasks that ended last: their markers, which need not be stored yet."""

    def put_end(self, key: TaskKey, marker: LiveEvent) -> None:
        """Tell all who follow a task of its end, and who reads it in the next moment: it is one, stored or not."""
        self._ends[key] = marker
        if len(self._ends) > _ENDS:
            del self._ends[next(iter(self._ends))]
        self._feed.put(key, marker)

    def watch(self, key: TaskKey) -> Watch:
        """Follow what is stored from now on."""
        return self._feed.watch(key)

    async def fetch(self, key: TaskKey, *, after_n: int, after_sequence: int) -> list[LiveEvent]:
        """Read the stream past ``after_sequence``, and behind it the end that others were told of already."""
        stored = [LiveEvent(*one) for one in await self._log.read_bytes(key, after_sequence=after_sequence)]
        told = self._ends.get(key)
        return stored if told is None else [*stored, told]


class Reader:
    """Folds what arrives for one task, whatever the way and order, into steps that each happen once."""

    def __init__(self, source: TaskSource, key: TaskKey) -> None:
        """Start before the task's first event."""
        self._source = source
        self._key = key
        self._sequence = 0
        self._missed = False
        self._furthest = 0
        """The highest counter of a marker for which something before it was missing."""
        self._unread: NewerEvent | None = None
        """An event that would have its turn, and cannot be read."""
        self.state = TaskState()

    async def catch_up(self) -> list[Step]:
        """Read what is stored and was not seen yet.

        Raises:
            BusError: if the stream cannot be read now.
            WrittenByNewer: if the task went on in a way that this version cannot read.
        """
        steps = await self._look()
        self._refuse_newer(steps)
        return steps

    async def take(self, watch: Watch, *, wait_s: float = IDLE_CHECK_S) -> list[Step]:
        """Return what has happened since the last call; empty if nothing did within ``wait_s``.

        Raises:
            BusError: if something was missed and the stream cannot be read now.
            WrittenByNewer: if the task went on in a way that this version cannot read.
        """
        arrived = await watch.take(0 if self._is_stuck else wait_s)
        if not arrived:
            return await self.catch_up()
        steps = list(self._apply(arrived))
        if self._missed:
            steps += await self._look()
            steps += self._apply(arrived)
        if self._missed:
            steps += await self._start_over()
            self._refuse_newer(steps)
        return steps

    async def _look(self) -> list[Step]:
        stored = await self._source.fetch(self._key, after_n=self.state.n, after_sequence=self._sequence)
        return list(self._apply(stored))

    async def _start_over(self) -> list[Step]:
        """Fold the whole log once more: where a writer broke the rule, only the order of the stream can tell."""
        reached = self.state.n
        self.state, self._sequence = TaskState(), 0
        return [step for step in await self._look() if step.state.n > reached]

    def _note_unread(self, writer: str, error: NewerEvent) -> None:
        """Remember what may be in the way: a marker is; a chunk only if the services went on behind it."""
        if error.n == self.state.n + 1 and writer in (MESH, self.state.node):
            self._unread = error
            self._furthest = max(self._furthest, error.n + 1 if writer == MESH else 0)

    @property
    def _is_stuck(self) -> bool:
        """Whether the next event, as far as is known, is one that cannot be read."""
        unread = self._unread
        return unread is not None and unread.n == self.state.n + 1 and self._furthest > unread.n

    def _refuse_newer(self, steps: list[Step]) -> None:
        """Say what is in the way, once the stream was read; what came before it is handed out first."""
        if self._is_stuck and not steps:
            raise WrittenByNewer(f"task {self._key.task}, counter {self.state.n + 1}: {self._unread}")

    def _apply(self, events: Iterable[LiveEvent]) -> Iterator[Step]:
        self._missed = False
        for sequence, writer, data in events:
            if 0 < sequence <= self._sequence:
                # Its turn in the stream is over: what did not count then does not count now.
                continue
            try:
                event = decode_task_event(data)
            except NewerEvent as error:
                self._note_unread(writer, error)
                continue
            except UndecodableEvent:
                continue
            outcome = advance(self.state, writer, event)
            if isinstance(outcome, Rejection):
                if outcome is Rejection.GAP:
                    self._missed = True
                    self._furthest = max(self._furthest, event.n if writer == MESH else 0)
                continue
            self.state = outcome
            self._sequence = max(self._sequence, sequence)
            yield Step(event, writer, outcome)


async def follow(
    source: TaskSource, key: TaskKey, *, watch: Watch | None = None, after: int = 0
) -> AsyncIterator[list[Step]]:
    """Yield every valid event of a task past counter ``after``, in order, until its end; what came together, together.

    Args:
        source: where to read.
        key: which task.
        watch: one that was opened before the task was submitted, which saves the look into the stream.
        after: the last counter that the reader has.

    Raises:
        BusError: if the stream cannot be read when that is needed.
    """
    reader = Reader(source, key)
    with watch or source.watch(key) as live:
        steps = [] if watch is not None else await reader.catch_up()
        while True:
            fresh = [step for step in steps if step.state.n > after]
            if fresh:
                yield fresh
            if reader.state.is_over:
                return
            steps = await reader.take(live)
