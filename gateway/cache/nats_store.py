"""Answers on the mesh's own stream CACHE: the newest message of each subject, replaced only by who has seen it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.cache.store import NOTHING_STORED, CacheAway, Stored
from mesh.bus.appends import Fence
from mesh.bus.newest import newest
from mesh.errors import BusError, FenceMismatch
from streams.cache.subjects import cache_entry
from streams.topology import CACHE

if TYPE_CHECKING:
    from gateway.cache.key import Slot
    from mesh.bus.link import Link
    from streams.tokens import Token

_LONGEST: Final = timedelta(seconds=5)
"""Whoever asks gives up long before; a message that was asked for is not asked for twice."""


class NatsStore:
    """Keeps answers on a stream in CORE; a write is fenced on the sequence of what it replaces."""

    def __init__(self, core: Link) -> None:
        """Go through ``core``, which is closed by its owner."""
        self._core = core

    async def read(self, slot: Slot, *, is_newest: bool = False) -> Stored:
        """Return what stands in a slot, as any copy of the stream says; the newest as its leader says.

        Raises:
            CacheAway: if the stream cannot be read now.
        """
        try:
            return await self._newest(slot, of_leader=is_newest and self._core.has_choice)
        except (BusError, msgspec.DecodeError) as error:
            raise CacheAway(f"{CACHE} cannot be read: {error}") from error

    async def swap(self, slot: Slot, standing: Stored, data: bytes, *, kept: timedelta) -> Stored | None:
        """Put ``data`` in the place of ``standing``.

        Raises:
            CacheAway: if it cannot be stored now, or nobody knows whether it was.
        """
        subject = cache_entry(slot.owner, slot.digest)
        try:
            fence = Fence(subject, standing.mark)
            return Stored(data, await self._core.append(subject, data, fence=fence, timeout=_LONGEST))
        except FenceMismatch:
            return None
        except BusError as error:
            raise CacheAway(f"{CACHE} cannot be written: {error}") from error

    async def forget(self, owner: Token) -> None:
        """Who erases an account erases its streams: there is nothing else to do."""

    async def close(self) -> None:
        """The connection is its owner's."""

    async def _newest(self, slot: Slot, *, of_leader: bool) -> Stored:
        subject = cache_entry(slot.owner, slot.digest)
        found = await newest(self._core, CACHE, subject, of_leader=of_leader, timeout=_LONGEST)
        return NOTHING_STORED if found is None else Stored(found.data, found.sequence)
