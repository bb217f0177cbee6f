"""Limits on the mesh's own stream LIMITS: the newest message of each subject, replaced only by who has seen it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gateway.limits.store import NOTHING_STORED, PATIENCE, StoreAway, Stored
from mesh.bus.appends import Fence
from mesh.bus.newest import newest
from mesh.errors import BusError, FenceMismatch
from streams import subjects
from streams.topology import LIMITS

if TYPE_CHECKING:
    from datetime import timedelta

    from gateway.limits.store import Owner
    from mesh.bus.link import Link

_LONGER: Final = 2 * PATIENCE
"""Whoever asks gives up before: then it is the store that is away, not the server that is to be left."""


class NatsStore:
    """Keeps limits on a stream in CORE; a write is fenced on the sequence of what it replaces."""

    def __init__(self, core: Link, *, longest: timedelta = _LONGER) -> None:
        """Go through ``core``, which is closed by its owner."""
        self._core = core
        self._longest = longest

    async def read(self, owner: Owner) -> Stored:
        """Return what stands there.

        Raises:
            StoreAway: if the stream cannot be read now.
        """
        try:
            return await self._newest(owner, of_leader=self._core.has_choice)
        except (BusError, msgspec.DecodeError) as error:
            raise StoreAway(f"{LIMITS} cannot be read: {error}") from error

    async def swap(self, owner: Owner, standing: Stored, data: bytes) -> Stored | None:
        """Put ``data`` in the place of ``standing``.

        Raises:
            StoreAway: if it cannot be stored now, or nobody knows whether it was.
        """
        subject = subjects.limit_state(owner.scope, owner.name)
        try:
            fence = Fence(subject, standing.mark)
            return Stored(data, await self._core.append(subject, data, fence=fence, timeout=self._longest))
        except FenceMismatch:
            return None
        except BusError as error:
            raise StoreAway(f"{LIMITS} cannot be written: {error}") from error

    async def close(self) -> None:
        """The connection is its owner's."""

    async def _newest(self, owner: Owner, *, of_leader: bool) -> Stored:
        subject = subjects.limit_state(owner.scope, owner.name)
        found = await newest(self._core, LIMITS, subject, of_leader=of_leader, timeout=self._longest)
        return NOTHING_STORED if found is None else Stored(found.data, found.sequence)
