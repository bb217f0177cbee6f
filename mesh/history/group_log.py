"""GROUPS as services and operators hold it: the fold kept up to date, and what is written to it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.history.tail import StreamTail
from streams import group_subjects
from streams.codec import decode_group_event, encode
from streams.errors import StreamsError
from streams.groups import Groups
from streams.topology import GROUPS

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from streams.group_events import GroupEvent
    from streams.groups import Group
    from streams.tokens import Token

log = logging.getLogger(__name__)

OnGroup = Callable[["Group"], None]


class GroupLog:
    """Every group, as the log has it now; ``on_change`` hears of each one whose event was folded."""

    def __init__(self, core: Link) -> None:
        """Prepare; ``start`` reads what is stored."""
        self.groups = Groups()
        self.on_change: OnGroup | None = None
        self._core = core
        self._tail = StreamTail(core, GROUPS, group_subjects.GROUPS_ALL, self._on_event)

    async def start(self) -> None:
        """Read all that is stored, and follow.

        Raises:
            BusError: if the stream cannot be read.
        """
        await self._tail.start()

    async def stop(self) -> None:
        """Follow no more."""
        await self._tail.stop()

    async def catch_up(self) -> None:
        """Read all that is stored by now.

        Raises:
            BusError: if the stream cannot be read.
        """
        await self._tail.catch_up()

    async def append(self, group: Token, event: GroupEvent) -> None:
        """Write an event, and fold all that comes before it and itself.

        Raises:
            BusError: if it cannot be written.
        """
        # No fence: if two services write at once, the fold takes the first and passes over what contradicts it.
        await self._tail.reach(await self._core.append(group_subjects.group(group), encode(event)))

    def _on_event(self, sequence: int, subject: str, data: bytes) -> None:
        try:
            name = group_subjects.parse_group(subject)
            self.groups.apply(name, decode_group_event(data))
        except StreamsError as error:
            log.error("event %d of GROUPS (%s) is left out: %s", sequence, subject, error)
            return
        group = self.groups.group(name)
        if self.on_change is not None and group is not None:
            self.on_change(group)
