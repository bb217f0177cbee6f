"""GROUPS as services and operators hold it: the fold kept up to date, and what is written to it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.history.followed_fold import FollowedFold
from streams.codec import decode_group_event
from streams.errors import StreamsError
from streams.groups import subjects as group_subjects
from streams.groups.fold import Groups
from streams.topology import GROUPS

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.history.snapshots import SnapshotStore
    from streams.groups.events import GroupEvent
    from streams.groups.fold import Group
    from streams.tokens import Token

log = logging.getLogger(__name__)

OnGroup = Callable[["Group"], None]


class GroupsProjection:
    """The fold of GROUPS, as snapshots and verification know it."""

    name = "groups"
    version = Groups.VERSION

    def __init__(self, groups: Groups) -> None:
        """Feed ``groups``."""
        self._groups = groups

    def apply(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in one event; what cannot be read is left out, with an error in the log."""
        try:
            self._groups.apply(group_subjects.parse_group(subject), decode_group_event(data))
        except StreamsError as error:
            log.error("event %d of GROUPS (%s) is left out: %s", sequence, subject, error)

    def dump(self) -> bytes:
        """Return the whole state."""
        return self._groups.dump()

    def load(self, data: bytes) -> None:
        """Replace the whole state."""
        self._groups.load(data)


class GroupLog(FollowedFold):
    """Every group, as the log has it now; ``on_change`` hears of each one whose event was folded."""

    def __init__(self, core: Link, snapshots: SnapshotStore | None = None) -> None:
        """Prepare; ``start`` reads what is stored, from the newest of ``snapshots`` on where there is one."""
        self.groups = Groups()
        self.on_change: OnGroup | None = None
        projection, subjects = GroupsProjection(self.groups), group_subjects.GROUPS_ALL
        super().__init__(core, GROUPS, subjects, projection, on_event=self._on_event, snapshots=snapshots)

    async def append(self, group: Token, event: GroupEvent) -> None:
        """Write an event, and fold all that comes before it and itself.

        Raises:
            BusError: if it cannot be written.
        """
        await self.write(group_subjects.group(group), event)

    def _on_event(self, sequence: int, subject: str, data: bytes) -> None:
        self._projection.apply(sequence, subject, data)
        with contextlib.suppress(StreamsError):
            group = self.groups.group(group_subjects.parse_group(subject))
            if self.on_change is not None and group is not None:
                self.on_change(group)
