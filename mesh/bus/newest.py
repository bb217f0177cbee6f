"""The newest message of a subject: as any copy of its stream has it, or as the leader, who alone knows of none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct

from mesh.bus.headers import SEQUENCE, stamped, status_code
from mesh.errors import BusError

if TYPE_CHECKING:
    from datetime import timedelta

    from mesh.bus.link import Link

_NO_MESSAGE: Final = 10037
_NOT_FOUND: Final = 404


class Newest(NamedTuple):
    """A message and where it stands in its stream."""

    data: bytes
    sequence: int


async def newest(link: Link, stream: str, subject: str, *, of_leader: bool, timeout: timedelta) -> Newest | None:
    """Return what stands last on a subject; None: nothing does.

    In a cluster any copy answers a direct get, and one that lags behind would be asked again and again: ``of_leader``.

    Raises:
        BusError: if it cannot be read now.
        msgspec.DecodeError: if the leader's answer is none.
    """
    query = json.dumps({"last_by_subj": subject}).encode()
    if of_leader:
        return _of_leader((await link.request(f"$JS.API.STREAM.MSG.GET.{stream}", query, timeout=timeout)).data)
    answer = await link.request(f"$JS.API.DIRECT.GET.{stream}", query, timeout=timeout)
    code = status_code(answer.headers)
    if code == _NOT_FOUND:
        return None
    if code is not None:
        raise BusError(answer.headers.decode(errors="replace").strip())
    return Newest(answer.data, int(stamped(answer.headers, SEQUENCE) or 0))


def _of_leader(data: bytes) -> Newest | None:
    answer = _leaders_answer.decode(data)
    if answer.error is not None and answer.error.err_code != _NO_MESSAGE:
        raise BusError(answer.error.description)
    held = answer.message
    return None if held is None else Newest(held.data, held.seq)


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
