"""Whether, when and how a task is tried again: pure functions of what its log says (ADR 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streams.devices.reputation import INVALID_RESULT
from streams.events import TaskError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.dispatcher.settings import DispatcherSettings
    from streams.events import AttemptFailure, Seam, TaskSubmitted
    from streams.tasks.task import TaskState

NODE_LOST: Final = "node_lost"
"""The node left the bus or fell silent in the middle of the attempt: the task may be what killed it."""

CANNOT_CONTINUE: Final = "cannot_continue"
"""The engine can neither go on from the text so far nor write it again word for word."""

ATTEMPTS_EXHAUSTED: Final = "attempts_exhausted"

_IN_GOOD_ORDER: Final = frozenset({"node_stopping", "node_draining", CANNOT_CONTINUE})
"""The next attempt may begin at once."""

_NOBODYS_FAULT: Final = _IN_GOOD_ORDER | {"node_busy", "engine_away"}
"""Refusals that say nothing of the task: they are not counted against it."""


def says_of_the_node(error: TaskError) -> bool:
    """Whether an attempt failed by what the node did: not by its leaving, which the roster tells, nor by the task."""
    return error.status >= 500 and error.code not in _NOBODYS_FAULT | {NODE_LOST}


LONGEST_PAUSE_S: Final = 10.0


def pause_s(failures: int, code: str, *, base_s: float, chance: float) -> float:
    """How long to wait after a failure: it doubles, with jitter so that many tasks do not return at once.

    Args:
        failures: how many attempts have come to nothing, this one included.
        code: why this one did.
        base_s: the middle of the first pause.
        chance: a random number in [0, 1).
    """
    if code in _IN_GOOD_ORDER:
        return 0.0
    return min(base_s * 2 ** (failures - 1), LONGEST_PAUSE_S) * (0.5 + chance)


def exhausted(failures: Sequence[AttemptFailure], settings: DispatcherSettings) -> TaskError | None:
    """What a task dies of that has been tried often enough, or None."""
    counted = [failure for failure in failures if failure.code not in _NOBODYS_FAULT]
    if len(counted) < settings.max_attempts and _lost(failures) < settings.max_lost_nodes:
        return None
    message = (
        f"{len(counted)} attempt(s) came to nothing, the last one because: {counted[-1].message}. "
        "The task is kept for the operator of the mesh."
    )
    return TaskError(code=ATTEMPTS_EXHAUSTED, message=message, status=502)


def is_suspect(failures: Sequence[AttemptFailure], settings: DispatcherSettings) -> bool:
    """Whether one more lost node would be this task's death: then no other such task may share its node.

    All tasks that ran on a lost node are blamed for it, and all but one of them wrongly: alone, each shows what it is.
    """
    return 0 < _lost(failures) == settings.max_lost_nodes - 1


def _lost(failures: Sequence[AttemptFailure]) -> int:
    return sum(1 for failure in failures if failure.code == NODE_LOST)


def seam(
    state: TaskState, *, continues: bool, is_trusted: bool = True, asked: TaskSubmitted | None = None
) -> Seam | None:
    """How the next attempt joins what was written, given whether its engine can go on from a text.

    On a text that is not trusted, or whose end was not believed, nothing is built.

    Where a node could not go on from the text, the answer is written anew out of sight. Only where that came to another
    text it begins again before the reader's eyes.

    Of texts that are to become vectors each stands for itself, so any engine goes on with the rest of them; but
    where all their vectors are there and nobody said that they were the last, there is no rest to go on with.
    """
    if not state.chars:
        return None
    texts = 0 if asked is None else len(asked.texts)
    last = state.failures[-1].code if state.failures else ""
    if not is_trusted or last == INVALID_RESULT or 0 < texts <= state.chars:
        return "restarted"
    if texts:
        return "continued"
    if last == CANNOT_CONTINUE:
        return "restarted" if state.seam == "replayed" else "replayed"
    return "continued" if continues else "replayed"
