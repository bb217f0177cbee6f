"""One task's log, folded once more, event by event: what it adds up to, and what in it counts for nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.codec import decode_task_event
from streams.digest import digest_of_task
from streams.errors import UndecodableEvent
from streams.events import TaskCompleted
from streams.subjects import MESH
from streams.tasks.task import Phase, Rejection, TaskState, advance, closing

if TYPE_CHECKING:
    from streams.events import EndEvent, TaskEvent
    from streams.messages import TaskDigest


class TaskFold:
    """Feed it a task's stored events in stream order."""

    __slots__ = ("_claims", "_is_begun", "before_end", "differing", "holes", "is_cut", "noise", "refused", "state")

    def __init__(self, claims: tuple[tuple[str, TaskDigest], ...] = ()) -> None:
        """Start before the first event; ``claims`` are states that services hold of it."""
        self.state = TaskState()
        self.before_end: TaskState | None = None
        """What the task had become when its ended marker came; None while there is none."""
        self.refused = 0
        self.noise = 0
        self.is_cut = False
        """Whether its first events are gone, so that nothing can be said of the rest."""
        self.holes: list[int] = []
        """Counters of markers before which something is missing."""
        self.differing: list[tuple[str, TaskDigest]] = []
        self._is_begun = False
        self._claims = sorted(claims, key=lambda claim: -claim[1].sequence)

    def take(self, sequence: int, writer: str, data: bytes) -> None:
        """Fold the next stored message."""
        while self._claims and self._claims[-1][1].sequence < sequence:
            self._judge_claim()
        try:
            event = decode_task_event(data)
        except UndecodableEvent:
            self.noise += 1
            return
        outcome = advance(self.state, writer, event)
        if isinstance(outcome, Rejection):
            self._pass_over(writer, event, outcome)
            return
        self._is_begun = True
        if outcome.phase is Phase.ENDED:
            self.before_end = self.state
        self.state = outcome

    def finish(self) -> None:
        """Judge what services hold of it behind its last event."""
        while self._claims:
            self._judge_claim()

    def against(self, end: EndEvent | None) -> list[str]:
        """Say in what the terminal event differs from this log; empty where all is as it should be."""
        found = [f"a hole before counter {n}" for n in self.holes]
        if end is None:
            return found if self.before_end is None else [*found, "an ended marker stands without an end in ENDED"]
        return [*found, *_differences(self.before_end or self.state, end), *self._marker_differences(end)]

    def _marker_differences(self, end: EndEvent) -> list[str]:
        marker = closing(end)
        if self.before_end is None or (self.state.outcome, self.state.error) == (marker.outcome, marker.error):
            return []
        return [f"ENDED says {marker.outcome}, the marker says {self.state.outcome}, or another error"]

    def _pass_over(self, writer: str, event: TaskEvent, why: Rejection) -> None:
        if writer != MESH or why is not Rejection.GAP:
            self.refused += 1
        elif self._is_begun:
            self.holes.append(event.n)
        else:
            self.is_cut = True

    def _judge_claim(self) -> None:
        service, claim = self._claims.pop()
        if claim.n != self.state.n or claim.state != digest_of_task(self.state):
            self.differing.append((service, claim))


def _differences(state: TaskState, end: EndEvent) -> list[str]:
    found: list[str] = []
    if state.n != end.final_n:
        found.append(f"ENDED says final_n {end.final_n}, the log has come to {state.n}")
    if state.shares != end.shares:
        found.append("ENDED gives other shares than the log")
    if isinstance(end, TaskCompleted):
        if state.usage != end.usage:
            found.append("ENDED gives another usage than the log")
        if state.finish_reason != end.finish_reason:
            found.append(f"ENDED says it finished by {end.finish_reason}, the log says {state.finish_reason}")
    return found
