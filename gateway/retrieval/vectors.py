"""Texts into vectors by the mesh's own nodes: a task of the account, as if it had asked for them itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError
from mesh.bus.answer import AnswerText, follow
from mesh.errors import PublishUnknown, SubjectTaken
from streams import subjects
from streams.codec import encode
from streams.events import TaskSubmitted

if TYPE_CHECKING:
    from mesh.bus.live import Watch
    from mesh.bus.service_bus import Bus
    from streams.subjects import ServiceClass, TaskKey
    from streams.tasks.task import TaskState

_TRIES: Final = 3


class NoVectors(GatewayError):
    """A task for vectors came to nothing."""

    def __init__(self, code: str, message: str, status: int, *, was_asked: bool) -> None:
        """Say what the task failed with; ``was_asked``: it had been submitted before."""
        super().__init__(message)
        self.code = code
        self.status = status
        self.was_asked = was_asked


class VectorMaker:
    """Asks for vectors. The bus must be followed (``Bus.follow``)."""

    def __init__(self, bus: Bus) -> None:
        """Ask over ``bus``."""
        self._bus = bus

    async def make(
        self,
        key: TaskKey,
        model: str,
        texts: tuple[str, ...],
        service_class: ServiceClass,
        *,
        deadline_at_ms: int,
        key_id: str | None = None,
    ) -> tuple[bytes, ...]:
        """Return a vector for each text: 32-bit floats, the least byte first. A task that exists is followed.

        ``key_id`` is the API key that it is counted for, of the account's own.

        Raises:
            NoVectors: if the task failed, was cancelled, or is another one.
            BusError: if the streams cannot be read or written.
        """
        asked = TaskSubmitted(model=model, texts=texts, deadline_at_ms=deadline_at_ms, key=key_id)
        watch = self._bus.feed.watch(key)
        try:
            is_new = await self._submit(subjects.submitted(service_class, key), encode(asked))
        except BaseException:
            watch.close()
            raise
        if not is_new:
            watch.close()
        answer, state = await self._answer(key, watch if is_new else None)
        vectors = answer.vectors
        if state is None or state.outcome != "completed" or len(vectors) != len(texts):
            raise _fault(state, was_asked=not is_new)
        return vectors

    async def _submit(self, subject: str, data: bytes) -> bool:
        """Store the task; whether it was not there before."""
        for attempt in range(_TRIES):
            try:
                await self._bus.edge.append(subject, data)
            except SubjectTaken:
                # Ours, after a lost acknowledgement, or older: either way what it came to stands in its stream.
                return False
            except PublishUnknown:
                if attempt + 1 == _TRIES:
                    raise
            else:
                return True
        return False

    async def _answer(self, key: TaskKey, watch: Watch | None) -> tuple[AnswerText, TaskState | None]:
        answer, state = AnswerText(), None
        async for steps in follow(self._bus.source, key, watch=watch):
            answer.take(steps)
            state = steps[-1].state
        return answer, state


def _fault(state: TaskState | None, *, was_asked: bool) -> NoVectors:
    if state is not None and state.error is not None:
        error = state.error
        return NoVectors(error.code, error.message, error.status, was_asked=was_asked)
    if state is not None and state.outcome == "cancelled":
        return NoVectors("task_cancelled", "The task that makes vectors was cancelled.", 400, was_asked=was_asked)
    return NoVectors("embedding_failed", "The task that makes vectors has another answer.", 502, was_asked=was_asked)
