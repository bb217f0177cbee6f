"""What a dispatcher knows of one task it holds, and writing to the task's log under the fence."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from gateway.errors import GatewayError
from mesh.bus.appends import Fence
from mesh.bus.task_log import decoded, refuse_newer
from mesh.errors import BusError, FenceMismatch, PublishUnknown
from streams import subjects
from streams.codec import encode
from streams.events import ChunkSignature, TaskAssigned, TaskChunk, TaskError
from streams.tasks.task import Rejection, TaskState, advance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mesh.bus.service_bus import Bus
    from mesh.bus.task_log import Stored
    from streams.events import Marker
    from streams.subjects import TaskKey
    from streams.tasks.answer_parts import ToolCallPiece

log = logging.getLogger(__name__)

_TRIES: Final = 8
_PAUSE_S: Final = 0.2


class Superseded(GatewayError):
    """Another dispatcher has written to the task since this one read it: it is that one's now."""


class Verdict(Struct, frozen=True, kw_only=True):
    """Why waiting for a node is over."""

    kind: Literal["finished", "failed", "halted", "exhausted", "cancelled", "deadline", "superseded", "outrun"]
    reason: str = ""
    error: TaskError | None = None
    """Why the attempt failed; a status below 500 means that no other node would fare better."""
    signature: ChunkSignature | None = None
    """What the node signed that gave the attempt back, not checked yet."""


def failed(code: str, message: str, *, status: int = 502, signature: ChunkSignature | None = None) -> Verdict:
    """Make the verdict on an attempt that came to nothing."""
    error = TaskError(code=code, message=message, status=status)
    return Verdict(kind="failed", reason=message, error=error, signature=signature)


class TaskRun:
    """One task: its state as folded so far, the text with it, and where the log stood."""

    def __init__(self, bus: Bus, key: TaskKey) -> None:
        """Start before the first event."""
        self.key = key
        self.state = TaskState()
        self.sequence = 0
        self.text: list[str] = []
        self.calls: list[ToolCallPiece] = []
        """What the answer's calls have grown by, in order."""
        self.chunks: list[TaskChunk] = []
        """Those of the current attempt: what its node signs for."""
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.dimensions: int | None = None
        """Numbers in each vector, as the first that counts has them."""
        self._is_ours = False
        self._lock = asyncio.Lock()
        """Whoever looks while a marker of ours is on its way would take it for a foreign one."""
        self._bus = bus
        self._filter = subjects.results_of(key)

    def decide(self, verdict: Verdict) -> None:
        """End the wait; the first verdict counts."""
        if not self.verdict.done():
            self.verdict.set_result(verdict)

    def next_attempt(self) -> None:
        """Wait anew, unless what ended the wait also ends the task."""
        self.verdict = asyncio.get_running_loop().create_future()

    async def write(self, make: Callable[[int], Marker]) -> None:
        """Append a marker; ``make`` gets the counter that it must have.

        Chunks that the node stores meanwhile only move the counter on; a foreign marker means that the task has
        changed hands.

        Raises:
            Superseded: if another dispatcher has written a marker.
            BusError: if the stream cannot be written or read for too long.
        """
        async with self._lock:
            await self._write(make)

    async def _write(self, make: Callable[[int], Marker]) -> None:
        self._is_ours = True
        sent: list[Marker] = []
        for _ in range(_TRIES):
            marker = make(self.state.n + 1)
            sent.append(marker)
            try:
                sequence = await self._bus.edge.append(
                    subjects.result(self.key, subjects.MESH), encode(marker), fence=Fence(self._filter, self.sequence)
                )
            except (FenceMismatch, PublishUnknown) as error:
                if await self._is_stored(sent):
                    return
                if isinstance(error, PublishUnknown):
                    await asyncio.sleep(_PAUSE_S)
            else:
                self._apply(subjects.MESH, marker, sequence)
                return
        raise BusError(f"no marker could be written for task {self.key.task}")

    async def read(self) -> None:
        """Fold what was stored since the last look. The first look takes the task over, with all that others wrote.

        Raises:
            Superseded: if another dispatcher has written a marker since this one took the task over.
            WrittenByNewer: if that was one of a newer version.
            BusError: if the stream cannot be read now.
        """
        async with self._lock:
            await self._look()

    async def _look(self) -> None:
        was_ours, self._is_ours = self._is_ours, True
        stored = await self._read()
        if was_ours and any(writer == subjects.MESH for _, writer, _ in stored):
            raise Superseded(f"task {self.key.task} is another dispatcher's now")

    async def _read(self) -> list[Stored]:
        found = await self._bus.log.read_current(self.key, after_sequence=self.sequence)
        stored = decoded(found)
        for sequence, writer, event in stored:
            self._apply(writer, event, sequence)
        if found:
            # What is no event counts for nobody, but the broker's fence counts it.
            self.sequence = max(self.sequence, found[-1].sequence)
        refuse_newer(self.key, found, self.state.n)
        return stored

    async def read_node(self, node: str) -> None:
        """Fold what the assigned node has stored: half the cost of ``read``, when no marker can have come between.

        What does not count says that one may have: then all is read, so that the fence is never passed with a foreign
        marker unseen.
        """
        async with self._lock:
            before = self.sequence
            stored = await self._bus.log.read_chunks(self.key, node, after_sequence=before)
            outcomes = [self._apply(writer, event, sequence) for sequence, writer, event in stored]
            if any(outcomes):
                self.sequence = before
                await self._look()

    async def _is_stored(self, sent: Sequence[Marker]) -> bool:
        """Look again; whether one of our own is there: also a try that seemed lost may have been stored since."""
        markers = [event for _, writer, event in await self._read() if writer == subjects.MESH]
        if any(marker in sent for marker in markers):
            return True
        if markers:
            raise Superseded(f"task {self.key.task} is another dispatcher's now")
        return False

    def _apply(self, writer: str, event: Marker | TaskChunk, sequence: int) -> Rejection | None:
        outcome = advance(self.state, writer, event)
        # The fence counts everything that is stored, also what the validity rule passes over.
        self.sequence = max(self.sequence, sequence)
        if isinstance(outcome, Rejection):
            if outcome is not Rejection.REPEAT:
                log.warning("task %s: an event of %s does not count: %s", self.key.task, writer, outcome)
            return outcome
        self.state = outcome
        if isinstance(event, TaskChunk):
            self.text.append(event.text)
            self.calls.extend(event.tool_calls)
            self.chunks.append(event)
            if self.dimensions is None and event.vectors is not None:
                self.dimensions = event.vectors.dimensions
        elif isinstance(event, TaskAssigned):
            self.chunks.clear()
            if event.seam == "restarted":
                self.text.clear()
                self.calls.clear()
                self.dimensions = None
        return None
