"""Cutting the connections of people who have lost what they were let in with, whichever instance has let them in."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from mesh.identity.people import is_person

if TYPE_CHECKING:
    from mesh.access.feed import AccessFeed
    from mesh.access.session_keys import SessionKeys
    from mesh.identity.connections import Connections
    from mesh.identity.people import BusPeople

_LOOK_S: Final = 1.0


class PeopleWatch:
    """Looks at everybody when somebody has lost something; at those whom this process let in at once."""

    def __init__(self, access: AccessFeed, people: BusPeople, sessions: SessionKeys, connections: Connections) -> None:
        """Go by ``access`` and by the keys of ``sessions``; cut by ``connections``."""
        self._access = access
        self._people = people
        self._sessions = sessions
        self._connections = connections
        self._seen: tuple[int, int] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look at once, since something may have been decided while nobody was here, and from then on."""
        self.look()
        self._task = asyncio.create_task(self._run(), name="people-watch")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def look(self) -> None:
        """Cut whoever may not stay, if anybody can have lost anything since the last look."""
        now = self._access.losses, self._sessions.generation
        if now == self._seen:
            return
        self._seen = now
        if gone := self._people.no_longer_good():
            # Named, they are found without going through all that are connected.
            self._connections.cut_soon(gone)
        self._connections.sweep_soon(lambda name: not is_person(name) or self._people.may_stay(name))

    async def _run(self) -> None:
        """The keys of sessions are a file, which nobody announces."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()
