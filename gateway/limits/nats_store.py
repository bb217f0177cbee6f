"""Limits on the mesh's own stream LIMITS: the newest message of each subject, replaced only by who has seen it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from gateway.limits.store import NOTHING_STORED, PATIENCE, StoreAway, Stored
from mesh.bus.appends import Fence
from mesh.bus.headers import SEQUENCE, stamped, status_code
from mesh.errors import BusError, FenceMismatch
from streams import subjects
from streams.topology import LIMITS

if TYPE_CHECKING:
    from datetime import timedelta

    from gateway.limits.store import Owner
    from mesh.bus.link import Link

_GET: Final = f"$JS.API.DIRECT.GET.{LIMITS}"
_GET_OF_LEADER: Final = f"$JS.API.STREAM.MSG.GET.{LIMITS}"
_NO_MESSAGE: Final = 10037
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
            return await (self._of_leader(owner) if self._core.has_choice else self._direct(owner))
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

    async def _direct(self, owner: Owner) -> Stored:
        query = json.dumps({"last_by_subj": subjects.limit_state(owner.scope, owner.name)}).encode()
        answer = await self._core.request(_GET, query, timeout=self._longest)
        match status_code(answer.headers):
            case None:
                return Stored(answer.data, int(stamped(answer.headers, SEQUENCE) or 0))
            case 404:
                return NOTHING_STORED
            case _:
                raise BusError(answer.headers.decode(errors="replace").strip())

    async def _of_leader(self, owner: Owner) -> Stored:
        """In a cluster any copy answers a direct get, and one that lags behind would be asked again and again."""
        query = json.dumps({"last_by_subj": subjects.limit_state(owner.scope, owner.name)}).encode()
        answer = _leaders_answer.decode((await self._core.request(_GET_OF_LEADER, query, timeout=self._longest)).data)
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
