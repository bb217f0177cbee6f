"""Which slots are in use, as one dispatcher reckons: its own tasks, and what reports say of those of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streams.messages import is_about
from streams.subjects import TaskKey
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Set

    from streams.messages import NodeStatus, Running

_REMEMBER_S: Final = 15.0
"""How long an ended task is known as ours: a report that still lists it must not count as somebody else's."""

_NONE: Final[frozenset[TaskKey]] = frozenset()


class Occupancy:
    """Asked with any clock that only goes forward, in seconds."""

    def __init__(self) -> None:
        """Begin with nothing in use."""
        self._ours: dict[tuple[str, str], set[TaskKey]] = {}
        self._ended: dict[TaskKey, float] = {}

    def occupy(self, node: str, model: str, key: TaskKey) -> None:
        """Count a slot as used by a task of ours."""
        self._ours.setdefault((node, model), set()).add(key)

    def release(self, node: str, model: str, key: TaskKey, *, now_s: float) -> None:
        """Count it as free again."""
        ours = self._ours.get((node, model))
        if ours is not None:
            ours.discard(key)
            if not ours:
                del self._ours[node, model]
        self._ended.pop(key, None)
        self._ended[key] = now_s
        self._forget_before(now_s - _REMEMBER_S)

    def in_use(self, node: str, model: str, status: NodeStatus | None) -> int:
        """How many slots of a model are in use at a node that last reported ``status``."""
        ours = self._ours.get((node, model), _NONE)
        if status is None or not status.running:
            return len(ours)
        others = [entry for entry in status.running if entry.model in ("", model) and not self._is_known(entry, ours)]
        return len(ours) + len(others)

    def _is_known(self, entry: Running, ours: Set[TaskKey]) -> bool:
        if not entry.account:
            return any(is_about(entry, key) for key in (*ours, *self._ended))
        key = TaskKey(Token(entry.account), Token(entry.task))
        return key in ours or key in self._ended

    def _forget_before(self, then: float) -> None:
        # In order of ending, so the oldest stands first.
        while self._ended and (oldest := next(iter(self._ended.items())))[1] < then:
            del self._ended[oldest[0]]
