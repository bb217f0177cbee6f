"""What a stream holds on some subjects: which there are, all of a chain, and deleting one message for good."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from mesh.bus.headers import status_code
from mesh.errors import BusError
from mesh.history.stream_facts import recorded

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.history.stream_facts import Recorded

_CLOSINGS: Final = frozenset({204, 404})
"""How the broker ends what it was asked for: that was all, or there is nothing."""


class _State(Struct, frozen=True):
    subjects: dict[str, int] | None = None


class _Error(Struct, frozen=True):
    description: str = ""


class _Info(Struct, frozen=True):
    state: _State = _State()
    total: int = 0
    error: _Error | None = None


_decode_info: Final = msgspec.json.Decoder(_Info).decode


async def subjects_held(link: Link, stream: str, subject_filter: str) -> list[str]:
    """Return the subjects that a filter matches and a stream has messages of, in no order.

    Raises:
        BusError: if that cannot be read.
    """
    found: list[str] = []
    while True:
        query = json.dumps({"subjects_filter": subject_filter, "offset": len(found)}).encode()
        info = _decode_info((await link.request(f"$JS.API.STREAM.INFO.{stream}", query)).data)
        if info.error is not None:
            raise BusError(f"{stream} cannot be read: {info.error.description}")
        page = info.state.subjects or {}
        found += page
        if not page or len(found) >= info.total:
            return found


async def messages_of(link: Link, stream: str, subject: str, *, first: int = 1, most: int) -> list[Recorded]:
    """Return the messages of one subject from a sequence on, in their order, ``most`` at most.

    Raises:
        BusError: if they cannot be read.
    """
    query = json.dumps({"seq": first, "next_by_subj": subject, "batch": most}).encode()
    parts, end = await link.collect(f"$JS.API.DIRECT.GET.{stream}", query)
    if status_code(end.headers) not in _CLOSINGS:
        raise BusError(f"{stream} cannot be read: {end.headers.decode(errors='replace').strip()}")
    return [recorded(part) for part in parts]


async def delete_message(link: Link, stream: str, sequence: int) -> str | None:
    """Delete one message, and have it written over on the disk; returns why it was not, or None.

    Raises:
        BusError: if the broker does not answer.
    """
    question = json.dumps({"seq": sequence, "no_erase": False}).encode()
    answer = _decode_info((await link.request(f"$JS.API.STREAM.MSG.DELETE.{stream}", question)).data)
    return None if answer.error is None else answer.error.description
