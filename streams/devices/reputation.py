"""How far a device's answers have been worth having: what the scheduler weighs a node's speed with (ADR 14).

Two tallies for each device, both folds of events: of checks and suspensions, which DEVICES holds, and of work done and
attempts that came to nothing, which ENDED holds. What is long ago counts less: each half-life halves it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from streams.codec import decode
from streams.events import TaskCompleted, TaskDead
from streams.tokens import Token

if TYPE_CHECKING:
    from streams.devices.events import DeviceChecked
    from streams.events import AttemptFailure, EndEvent

_CHECKS_FADE_MS: Final = timedelta(days=14) / timedelta(milliseconds=1)
"""Half-life of checks and suspensions, which are few."""
_WORK_FADES_MS: Final = timedelta(days=1) / timedelta(milliseconds=1)
"""Half-life of work, much shorter than ENDED is kept: what has expired there would hardly count."""

_TRUST: Final = 20.0
"""What a device begins with: one that nobody knows is believed, and one failure does not ruin it."""
_MOST_GOOD: Final = 200.0
"""Good work counts up to here: years of it buy nobody the right to lie for long."""

_DONE: Final = 1.0
_AGREED: Final = 5.0
_SUSPENDED: Final = 40.0
_WRONG: Final = 20.0
_UNDECIDED: Final = 2.0

INVALID_RESULT: Final = "invalid_result"
"""Code of an attempt whose result was not believed."""

_GOOD_ORDER: Final = frozenset(
    {"node_stopping", "node_draining", "node_busy", "engine_away", "cannot_continue", "model_not_found"}
)
"""Codes of failures that say nothing of the node."""
_GONE: Final = frozenset({"node_lost", "node_stalled", "node_unresponsive"})
"""Codes of a node that was not there: that takes all its tasks with it, and says little of its answers."""
_INVALID: Final = 10.0
_LOST: Final = 0.05
_FAILED: Final = 1.0


class Tally(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What speaks for and against somebody, as it counted at ``at_ms``."""

    good: float = 0.0
    bad: float = 0.0
    at_ms: int = 0

    def plus(self, *, at_ms: int, half_life_ms: float, good: float = 0.0, bad: float = 0.0) -> Tally:
        """Add something that happened at ``at_ms``; what was there has faded until then. Time never goes back."""
        passed_ms = at_ms - self.at_ms
        if passed_ms <= 0:
            return Tally(good=self.good + good, bad=self.bad + bad, at_ms=self.at_ms)
        left = 0.5 ** (passed_ms / half_life_ms)
        return Tally(good=self.good * left + good, bad=self.bad * left + bad, at_ms=at_ms)


NOTHING: Final = Tally()


def checked(tally: Tally, event: DeviceChecked) -> Tally:
    """Add a comparison with another device's answer."""
    if event.agreed:
        return tally.plus(at_ms=event.at_ms, half_life_ms=_CHECKS_FADE_MS, good=_AGREED)
    bad = _UNDECIDED if event.undecided else _WRONG
    return tally.plus(at_ms=event.at_ms, half_life_ms=_CHECKS_FADE_MS, bad=bad)


def caught(tally: Tally, at_ms: int) -> Tally:
    """Add a suspension over a task: it still counts when the device is admitted again."""
    return tally.plus(at_ms=at_ms, half_life_ms=_CHECKS_FADE_MS, bad=_SUSPENDED)


def score(checks: Tally, work: Tally, *, now_ms: int) -> float:
    """Return the share, 0 to 1, of what speaks for a device; 1 where nothing speaks against it."""
    said = checks.plus(at_ms=now_ms, half_life_ms=_CHECKS_FADE_MS)
    done = work.plus(at_ms=now_ms, half_life_ms=_WORK_FADES_MS)
    good = _TRUST + min(said.good + done.good, _MOST_GOOD)
    return good / (good + said.bad + done.bad)


class _State(Struct, frozen=True):
    """What ENDED adds up to, as it is written into snapshots."""

    tallies: dict[Token, Tally]


class WorkDone:
    """The fold of ENDED: what each node has completed, and which of its attempts came to nothing."""

    VERSION: Final = 1
    """Raise it whenever the same events add up to something else: older snapshots are then not used."""

    def __init__(self) -> None:
        """Start empty, before the first event."""
        self._tallies: dict[Token, Tally] = {}

    def apply(self, end: EndEvent) -> None:
        """Fold one end. A task that failed or was cancelled says nothing of who worked on it."""
        if isinstance(end, TaskCompleted) and end.shares:
            self._add(end.shares[-1].node, end.at_ms, good=_DONE)
        if isinstance(end, TaskCompleted | TaskDead):
            for failure in end.failures:
                self._add(failure.node, end.at_ms, bad=_weight(failure))

    def of(self, node: Token) -> Tally:
        """What is known of a node's work."""
        return self._tallies.get(node, NOTHING)

    def dump(self) -> bytes:
        """Return all that ENDED has added up to. The same events give the same bytes."""
        return msgspec.msgpack.encode(_State(self._tallies))

    def load(self, data: bytes) -> None:
        """Replace all that ENDED has added up to.

        Raises:
            UndecodableEvent: if the bytes are no such state; nothing is replaced then.
        """
        self._tallies = decode(data, _State).tallies

    def _add(self, node: str, at_ms: int, *, good: float = 0.0, bad: float = 0.0) -> None:
        name = Token(node)
        self._tallies[name] = self.of(name).plus(at_ms=at_ms, half_life_ms=_WORK_FADES_MS, good=good, bad=bad)


def _weight(failure: AttemptFailure) -> float:
    if failure.code in _GOOD_ORDER:
        return 0.0
    if failure.code in _GONE:
        return _LOST
    return _INVALID if failure.code == INVALID_RESULT else _FAILED
