"""One task on a board: what was asked, and what it has become so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.bridge.frames import TaskView
from streams.events import TaskChunk, TaskEnded
from streams.tasks.task import TaskState
from streams.tasks.task_id import created_ms

if TYPE_CHECKING:
    from gateway.intake.submissions import Submission
    from mesh.bus.answer import Step
    from streams.subjects import TaskKey

TAIL_CHARS: Final = 240
PROMPT_CHARS: Final = 240


class BoardEntry:
    """Mutable, and never handed out: ``view`` is."""

    def __init__(self, key: TaskKey, submission: Submission | None) -> None:
        """Start before the task's first event."""
        self.key = key
        self.submission = submission
        self.state = TaskState()
        self._tail = ""
        self._ended_ms: int | None = None

    @property
    def is_confirmed(self) -> bool:
        """Whether the task is known to be stored."""
        return self.submission is not None

    def apply(self, step: Step) -> None:
        """Take one valid event."""
        self.state = step.state
        if isinstance(step.event, TaskChunk):
            self._tail = (self._tail + step.event.text)[-TAIL_CHARS:]
        elif step.restarts:
            self._tail = ""
        elif isinstance(step.event, TaskEnded):
            self._ended_ms = step.event.at_ms

    def view(self) -> TaskView:
        """The task as it stands."""
        state = self.state
        return TaskView(
            task=self.key.task,
            created_ms=created_ms(self.key.task),
            model=self.submission.asked.model if self.submission else "",
            prompt=self.submission.question[:PROMPT_CHARS] if self.submission else "",
            n=state.n,
            phase=state.phase,
            attempt=state.attempt,
            node=state.node,
            chars=state.chars,
            tokens=state.tokens,
            tail=self._tail,
            position=state.position,
            reason=state.reason,
            outcome=state.outcome,
            finish_reason=state.finish_reason,
            error=state.error,
            ended_ms=self._ended_ms,
        )
