"""Answers on the mesh's own stream CACHE: the newest message of each subject, replaced only by who has seen it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from gateway.cache.store import NOTHING_STORED, CacheAway, Stored
from mesh.bus.appends import Fence
from mesh.bus.headers import SEQUENCE, stamped, status_code
from mesh.errors import BusError, FenceMismatch
from streams.cache_subjects import cache_entry
from streams.topology import CACHE

if TYPE_CHECKING:
    from gateway.cache.key import Slot
    from mesh.bus.link import Link
    from streams.tokens import Token

_GET: Final = f"$JS.API.DIRECT.GET.{CACHE}"
_GET_OF_LEADER: Final = f"$JS.API.STREAM.MSG.GET.{CACHE}"
_NO_MESSAGE: Final = 10037
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
        of_leader = is_newest and self._core.has_choice
        try:
            return await (self._of_leader(slot) if of_leader else self._direct(slot))
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

    async def _direct(self, slot: Slot) -> Stored:
        query = json.dumps({"last_by_subj": cache_entry(slot.owner, slot.digest)}).encode()
        answer = await self._core.request(_GET, query, timeout=_LONGEST)
        match status_code(answer.headers):
            case None:
                return Stored(answer.data, int(stamped(answer.headers, SEQUENCE) or 0))
            case 404:
                return NOTHING_STORED
            case _:
                raise BusError(answer.headers.decode(errors="replace").strip())

    async def _of_leader(self, slot: Slot) -> Stored:
        """In a cluster any copy answers a direct get, and one that lags behind would be asked again and again."""
        query = json.dumps({"last_by_subj": cache_entry(slot.owner, slot.digest)}).encode()
        answer = _leaders_answer.decode((await self._core.request(_GET_OF_LEADER, query, timeout=_LONGEST)).data)
        if answer.error is not None:
            if answer.error.err_code == _NO_MESSAGE:
                return NOTHING_STORED
            raise BusError(answer.error.description)
        held = answer.message
        return NOTHING_STORED if held is None else Stored(held.data, held.seq)


class _Held(Struct):
    seq: int
    data: bytes = b""


class _Error(Struct):
    err_code: int = 0
    description: str = ""


class _LeadersAnswer(Struct):
    message: _Held | None = None
    error: _Error | None = None


_leaders_answer: Final = msgspec.json.Decoder(_LeadersAnswer)
