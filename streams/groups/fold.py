"""Which shard groups there are and how each stands, as a fold of GROUPS.

Two services may write at once: what contradicts the log so far is passed over, so that all who fold it agree.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from streams.codec import decode
from streams.groups.events import GroupDissolved, GroupJoined, GroupProposed, GroupReady
from streams.groups.part import GroupPart
from streams.tokens import Token

if TYPE_CHECKING:
    from streams.groups.events import GroupEvent


KEPT_ENDED: Final = 256
"""So many groups that have ended are remembered, the latest to end: a flapping node would fill any memory."""


class GroupState(StrEnum):
    """How a group stands."""

    FORMING = "forming"
    READY = "ready"
    DISSOLVED = "dissolved"


class Group(Struct, frozen=True, kw_only=True):
    """One group as the log has it."""

    group: Token
    leader: str
    model: str
    state: GroupState = GroupState.FORMING
    needs_bytes: int
    joined: tuple[GroupJoined, ...] = ()
    parts: tuple[GroupPart, ...] = ()
    replaces: str | None = None
    by: str = ""
    """Who ended it."""
    reason: str = ""
    since_ms: int
    """When it came to how it stands."""

    @property
    def members(self) -> tuple[str, ...]:
        """The nodes without which it cannot go on, its leader first: while it forms, all who joined."""
        if self.state is GroupState.FORMING:
            return (self.leader, *(each.node for each in self.joined))
        return tuple(part.node for part in self.parts)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state is not GroupState.DISSOLVED


class _State(Struct, frozen=True):
    """What GROUPS adds up to, as it is written into snapshots."""

    groups: dict[Token, Group]
    ended: list[Token]


class Groups:
    """The projection. It is fed from one place, in stream order.

    What it forgets, it forgets by the log alone, so that all who fold it remember the same.
    """

    VERSION: Final = 1
    """Raise it whenever the same events add up to something else: older snapshots are then not used."""

    def __init__(self) -> None:
        """Start empty, before the first event."""
        self._groups: dict[Token, Group] = {}
        self._ended: dict[Token, None] = {}
        """Those that have ended, in that order."""

    def apply(self, name: Token, event: GroupEvent) -> None:
        """Fold one event of GROUPS."""
        if isinstance(event, GroupProposed):
            self._groups.setdefault(name, _proposed(name, event))
            return
        before = self._groups.get(name)
        if before is None or not before.is_open:
            return
        self._groups[name] = group = _changed(before, event)
        if not group.is_open:
            self._ended[name] = None
            self._forget()

    def dump(self) -> bytes:
        """Return all that GROUPS has added up to. The same events give the same bytes."""
        return msgspec.msgpack.encode(_State(self._groups, list(self._ended)))

    def load(self, data: bytes) -> None:
        """Replace all that GROUPS has added up to.

        Raises:
            UndecodableEvent: if the bytes are no such state; nothing is replaced then.
        """
        state = decode(data, _State)
        self._groups, self._ended = state.groups, dict.fromkeys(state.ended)

    def group(self, name: Token) -> Group | None:
        """One group, or None if the log does not know it, or it has ended long ago."""
        return self._groups.get(name)

    def all(self) -> tuple[Group, ...]:
        """Every group that is open or has ended lately, in the order in which they were proposed."""
        return tuple(self._groups.values())

    def open_with(self, node: str) -> tuple[Group, ...]:
        """The groups that cannot go on without a node."""
        return tuple(group for group in self._groups.values() if group.is_open and node in group.members)

    def _forget(self) -> None:
        while len(self._ended) > KEPT_ENDED:
            oldest = next(iter(self._ended))
            del self._ended[oldest], self._groups[oldest]


def _proposed(name: Token, event: GroupProposed) -> Group:
    return Group(
        group=name,
        leader=event.leader,
        model=event.model,
        needs_bytes=event.memory_bytes,
        replaces=event.replaces,
        since_ms=event.at_ms,
    )


def _changed(before: Group, event: GroupJoined | GroupReady | GroupDissolved) -> Group:
    match event:
        case GroupJoined():
            is_known = before.state is not GroupState.FORMING or event.node in before.members
            return before if is_known else replace(before, joined=(*before.joined, event))
        case GroupReady():
            fits = {part.node for part in event.parts} <= set(before.members)
            is_due = before.state is GroupState.FORMING and fits
            return _with(before, GroupState.READY, event.at_ms, parts=event.parts) if is_due else before
        case GroupDissolved():
            return _with(before, GroupState.DISSOLVED, event.at_ms, by=event.by, reason=event.reason)


def _with(before: Group, state: GroupState, at_ms: int, **changes: object) -> Group:
    return replace(before, state=state, since_ms=at_ms, **changes)
