"""Which shard groups there are and how each stands, as a fold of GROUPS.

Two services may write at once: what contradicts the log so far is passed over, so that all who fold it agree.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from streams.group_events import GroupDissolved, GroupJoined, GroupProposed, GroupReady
from streams.group_part import GroupPart
from streams.tokens import Token

if TYPE_CHECKING:
    from streams.group_events import GroupEvent


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


class Groups:
    """The projection. It is fed from one place, in stream order."""

    def __init__(self) -> None:
        """Start empty, before the first event."""
        self._groups: dict[Token, Group] = {}

    def apply(self, name: Token, event: GroupEvent) -> None:
        """Fold one event of GROUPS."""
        if isinstance(event, GroupProposed):
            self._groups.setdefault(name, _proposed(name, event))
            return
        before = self._groups.get(name)
        if before is None or not before.is_open:
            return
        self._groups[name] = _changed(before, event)

    def group(self, name: Token) -> Group | None:
        """One group, or None if the log does not know it."""
        return self._groups.get(name)

    def all(self) -> tuple[Group, ...]:
        """Every group, in the order in which they were proposed."""
        return tuple(self._groups.values())

    def open_with(self, node: str) -> tuple[Group, ...]:
        """The groups that cannot go on without a node."""
        return tuple(group for group in self._groups.values() if group.is_open and node in group.members)


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
