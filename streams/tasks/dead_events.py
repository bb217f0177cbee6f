"""DEAD: what became of tasks that died."""

from __future__ import annotations

from streams.event import Event
from streams.tasks.task_error import TaskError


class DeadKept(Event, frozen=True, kw_only=True, tag="dead.kept.v1"):
    """A task died and waits for somebody to look at it."""

    at_ms: int
    model: str
    error: TaskError


class DeadRedriven(Event, frozen=True, kw_only=True, tag="dead.redriven.v1"):
    """Somebody had it tried again, as ``task``."""

    at_ms: int
    task: str


class DeadDropped(Event, frozen=True, kw_only=True, tag="dead.dropped.v1"):
    """Somebody looked at it and let it go."""

    at_ms: int
    reason: str


DeadEvent = DeadKept | DeadRedriven | DeadDropped
"""All that DEAD may hold."""
