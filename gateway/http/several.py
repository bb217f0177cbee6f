"""What an API whose requests may want several answers is to the flow that serves them: each answer is a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from msgspec.structs import replace

from gateway.http.api import Answerable, Frames, Question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.limits.ticket import Price
    from streams.events import TaskSubmitted
    from streams.tasks.placing import Rules
    from streams.tasks.task import TaskState
    from streams.tokens import Token

_LARGEST_SEED: Final = 2**63 - 1


class PartFrames(Frames, Protocol):
    """Writes what one answer adds to the stream of all; it has no counters to go on behind, and no end of its own."""

    def usage(self, state: TaskState) -> bytes:
        """Write the event that has the usage; empty, where nobody wants it."""
        ...


class Part(Answerable, Protocol):
    """One of the answers. Written whole, it is kept by its gathering, and is no bytes of its own."""

    def frames(self, task: Token) -> PartFrames:
        """A writer for its share of the stream."""
        ...


class Gathering(Protocol):
    """The answers of one request as they come."""

    def part(self, index: int) -> Part:
        """One of them, counted from 0."""
        ...

    def whole(self, model: str, state: TaskState) -> bytes:
        """Write them all, once each is there; ``state`` has the usage of all of them."""
        ...


class Several(Question, Protocol):
    """A request that may want several answers."""

    @property
    def choices(self) -> int:
        """How many answers it wants."""
        ...

    def draft_of(self, index: int) -> TaskSubmitted:
        """The draft of one of them."""
        ...

    def price_of(self, index: int, answer_tokens: int) -> Price:
        """What one of them may use."""
        ...

    async def submissions(self, deadline_at_ms: int, rules: Rules | None) -> Sequence[TaskSubmitted]:
        """The tasks that it asks for, in the order of its answers."""
        ...

    def gathering(self, first: Token) -> Gathering:
        """What puts the answers together; they are known by the ``first`` task."""
        ...


def unlike(task: TaskSubmitted, index: int) -> TaskSubmitted:
    """The task of one of several answers to the same: with a seed that was given each has its own, or all were one."""
    seed = task.sampling.seed
    if seed is None or index == 0:
        return task
    seed = seed + index if seed <= _LARGEST_SEED - index else seed - index
    return replace(task, sampling=replace(task.sampling, seed=seed))
