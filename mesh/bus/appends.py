"""Appends to a stream, as they go over the wire: the fence in the headers, the acknowledgement in the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from mesh.bus.headers import EXPECTED_LAST, EXPECTED_LAST_SUBJECT, NO_RESPONDERS, header_block, status_code
from mesh.errors import FenceMismatch, PublishRefused, PublishUnknown, StoreFull, SubjectTaken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.bus.direct_client import Delivery

_WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
_STORE_FAILED: Final = 10077
_SUBJECT_FULL: Final = "maximum messages per subject"
"""Code 10077 covers all that the store says, a full disk as well; only this text means one message ever."""

SERVICE_UNAVAILABLE: Final = 503
NOT_NOW: Final = frozenset({10005, 10008, 10009, 10010, 10118, 10119})
"""No suitable peers, no leader of the cluster, not (yet) in a cluster, not the leader, stream or consumer off-line.

What a replicated stream says while servers are missing; it says nothing about what is stored."""

_NO_ROOM: Final = frozenset({10002, 10023, 10047})
"""The account's limit, the server's resources, the server's storage. A full disk has no code: nothing answers."""


class Fence(Struct, frozen=True):
    """The last sequence that the writer has seen on ``subject_filter``; the broker refuses the append if it moved.

    All writers of a subject family must name the same filter, byte for byte.
    """

    subject_filter: str
    last_sequence: int


def append_headers(fence: Fence | None, headers: Sequence[tuple[str, str]]) -> bytes:
    """Write the headers of an append."""
    if fence is None:
        return header_block(*headers) if headers else b""
    return header_block(
        (EXPECTED_LAST, str(fence.last_sequence)), (EXPECTED_LAST_SUBJECT, fence.subject_filter), *headers
    )


class _PubAckError(Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(Struct):
    seq: int = 0
    error: _PubAckError | None = None
    duplicate: bool = False


_pub_ack: Final = msgspec.json.Decoder(_PubAck)


def is_not_now(answer: Delivery) -> bool:
    """Whether JetStream answers that its cluster, or a stream of it, cannot serve at the moment."""
    try:
        error = _pub_ack.decode(answer.data).error
    except msgspec.DecodeError:
        return False
    return error is not None and (error.code == SERVICE_UNAVAILABLE or error.err_code in NOT_NOW)


def sequence_of(subject: str, answer: Delivery) -> int:
    """Read an acknowledgement; returns the stream sequence.

    Raises:
        PublishRefused: if the stream did not take it; ``FenceMismatch`` and ``SubjectTaken`` say why.
        StoreFull: if the stream has no room now.
        PublishUnknown: if the answer cannot be read.
    """
    if status_code(answer.headers) == NO_RESPONDERS:
        raise PublishRefused(f"no stream takes {subject}: provision the mesh (ig3 broker does)")
    try:
        ack = _pub_ack.decode(answer.data)
    except msgspec.DecodeError as error:
        raise PublishUnknown(f"unreadable acknowledgement for {subject}: {error}") from error
    if ack.error is None:
        return ack.seq
    if ack.error.err_code in _WRONG_LAST_SEQUENCE:
        raise FenceMismatch(f"{subject}: {ack.error.description}")
    if ack.error.err_code == _STORE_FAILED and _SUBJECT_FULL in ack.error.description:
        raise SubjectTaken(f"{subject} holds its one message already")
    if ack.error.err_code in _NO_ROOM:
        raise StoreFull(f"{subject}: the broker's store is full: {ack.error.description} ({ack.error.err_code})")
    if ack.error.err_code in NOT_NOW:
        raise PublishUnknown(f"{subject}: its stream cannot say now: {ack.error.description} ({ack.error.err_code})")
    raise PublishRefused(f"{subject}: {ack.error.description} ({ack.error.err_code})")
