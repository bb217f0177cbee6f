"""What the broker says about a stream, and single messages by sequence or by subject.

The first answer after a recovery can be that a replicated stream is empty and has no leader (FACTS). So an answer
counts only with a leader, and "empty" of a replicated stream only when it is said twice.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct

from mesh.bus.headers import SEQUENCE, STREAM_SUBJECT, stamped, status_code
from mesh.errors import BusError, NoResponders, RequestTimedOut

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link

log = logging.getLogger(__name__)

SETTLE_PATIENCE: Final = timedelta(seconds=15)
_PAUSE_S: Final = 0.5
_NOT_FOUND: Final = 404
_STREAM_NOT_FOUND: Final = 10059
_TIME_STAMP: Final = "Nats-Time-Stamp"
_MICROSECOND_DIGITS: Final = 6
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class StreamFacts(Struct, frozen=True, kw_only=True):
    """A stream as it is. ``created`` tells it from another one of the same name."""

    name: str
    created: str
    messages: int
    size_bytes: int
    first_sequence: int
    last_sequence: int
    first_at: datetime | None
    last_at: datetime | None
    max_age: timedelta | None = None
    """How long it keeps a message; None: for ever."""
    told_at: datetime | None = None
    """By the broker's clock; None: it has not said."""


class Recorded(NamedTuple):
    """One message as a stream holds it. ``headers`` is the publisher's own raw block, perhaps with the broker's."""

    sequence: int
    subject: str
    data: bytes
    headers: bytes
    stored_ns: int
    """When the broker stored it, in Unix nanoseconds."""

    @property
    def at(self) -> datetime:
        """When the broker stored it, to the microsecond, never later than it was."""
        return _EPOCH + timedelta(microseconds=self.stored_ns // 1000)


class _State(Struct):
    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    first_ts: str = ""
    last_ts: str = ""


class _Cluster(Struct):
    leader: str = ""


class _Config(Struct):
    name: str = ""
    num_replicas: int = 1
    max_age: int = 0
    """In nanoseconds."""


class _Error(Struct):
    err_code: int = 0
    description: str = ""


class _Info(Struct):
    created: str = ""
    ts: str = ""
    config: _Config = msgspec.field(default_factory=_Config)
    state: _State = msgspec.field(default_factory=_State)
    cluster: _Cluster | None = None
    error: _Error | None = None


class _Names(Struct):
    total: int = 0
    streams: list[str] | None = None


_names: Final = msgspec.json.Decoder(_Names)
_info: Final = msgspec.json.Decoder(_Info)


async def stream_facts(
    link: Link, stream: str, *, at_least: int = 0, patience: timedelta = SETTLE_PATIENCE
) -> StreamFacts:
    """Ask until the answer can be believed.

    Args:
        link: a connection in the stream's account.
        stream: its name.
        at_least: a sequence that the stream is known to have reached; an answer below it is doubted until ``patience``
            is over, and then returned as it is.
        patience: how long to go on asking.

    Raises:
        BusError: if there is no such stream, or nobody can say in time.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + patience.total_seconds()
    was_empty = False
    while True:
        is_late = loop.time() >= give_up_at
        try:
            info = await _ask(link, stream)
        except (NoResponders, RequestTimedOut):
            if is_late:
                raise
        else:
            is_empty = info.state.last_seq == 0
            if _has_leader(info) and _is_settled(info, again=was_empty and is_empty, at_least=at_least):
                return _facts(info)
            if is_late and _has_leader(info):
                return _facts(info)
            if is_late:
                raise BusError(f"stream {stream} has no leader: are enough servers of the cluster up?")
            was_empty = is_empty
        await asyncio.sleep(_PAUSE_S)


async def stream_names(link: Link) -> list[str]:
    """Return the names of all streams in the connection's account, sorted.

    Raises:
        BusError: if the broker does not answer.
    """
    names: list[str] = []
    while True:
        query = json.dumps({"offset": len(names)}).encode()
        page = _names.decode((await link.request("$JS.API.STREAM.NAMES", query)).data)
        found = page.streams or []
        names += found
        if not found or len(names) >= page.total:
            return sorted(names)


async def message_at(link: Link, stream: str, sequence: int) -> Recorded | None:
    """Return one message by its sequence; None if the stream does not hold it (any more).

    Raises:
        BusError: if the stream cannot be read.
    """
    return await _get(link, stream, {"seq": sequence})


async def last_message(link: Link, stream: str, subject_filter: str = ">") -> Recorded | None:
    """Return the newest message on a subject, or one matching a wildcard; None if there is none.

    Raises:
        BusError: if the stream cannot be read.
    """
    return await _get(link, stream, {"last_by_subj": subject_filter})


async def last_messages(link: Link, stream: str, filters: Iterable[str], *, most: int) -> list[Recorded]:
    """Return the newest message of each subject that one of the filters matches, ``most`` at most.

    Raises:
        BusError: if the stream cannot be read.
    """
    query = json.dumps({"multi_last": list(filters), "batch": most}).encode()
    collected = await link.collect(f"$JS.API.DIRECT.GET.{stream}", query)
    return [recorded(part) for part in collected.parts]


async def message_range(link: Link, stream: str, first_sequence: int, count: int) -> list[Recorded]:
    """Return up to ``count`` messages from a sequence on; fewer at the end of the stream, and if they are large.

    Raises:
        BusError: if the stream cannot be read.
    """
    query = json.dumps({"seq": max(1, first_sequence), "batch": count}).encode()
    collected = await link.collect(f"$JS.API.DIRECT.GET.{stream}", query)
    return [recorded(part) for part in collected.parts]


async def _ask(link: Link, stream: str) -> _Info:
    answer = await link.request(f"$JS.API.STREAM.INFO.{stream}", b"")
    try:
        info = _info.decode(answer.data)
    except msgspec.DecodeError as error:
        raise BusError(f"the broker's answer about stream {stream} cannot be read: {error}") from error
    if info.error is None:
        return info
    if info.error.err_code == _STREAM_NOT_FOUND:
        raise BusError(f"there is no stream {stream}: `ig3 streams list` shows which there are")
    raise RequestTimedOut(f"stream {stream}: {info.error.description}")


def _has_leader(info: _Info) -> bool:
    return info.cluster is None or bool(info.cluster.leader)


def _is_settled(info: _Info, *, again: bool, at_least: int) -> bool:
    if info.config.num_replicas == 1:
        # The only copy speaks for itself, and it is read before its server listens.
        return True
    return info.state.last_seq >= at_least and (info.state.last_seq > 0 or again)


def _facts(info: _Info) -> StreamFacts:
    state = info.state
    has_any = state.messages > 0
    return StreamFacts(
        name=info.config.name,
        created=info.created,
        messages=state.messages,
        size_bytes=state.bytes,
        first_sequence=state.first_seq,
        last_sequence=state.last_seq,
        first_at=parse_time(state.first_ts) if has_any else None,
        last_at=parse_time(state.last_ts) if has_any else None,
        max_age=timedelta(microseconds=info.config.max_age // 1000) if info.config.max_age else None,
        told_at=parse_time(info.ts) if info.ts else None,
    )


async def _get(link: Link, stream: str, query: dict[str, object]) -> Recorded | None:
    answer = await link.request(f"$JS.API.DIRECT.GET.{stream}", json.dumps(query).encode())
    code = status_code(answer.headers)
    if code == _NOT_FOUND:
        return None
    if code is not None:
        raise BusError(f"{stream} cannot be read: {answer.headers.decode(errors='replace').strip()}")
    return recorded(answer)


def recorded(part: Delivery) -> Recorded:
    """Return a message as the broker has answered with it.

    Raises:
        BusError: if the answer does not say where it is stored.
    """
    sequence = stamped(part.headers, SEQUENCE)
    subject = stamped(part.headers, STREAM_SUBJECT)
    at = stamped(part.headers, _TIME_STAMP)
    if sequence is None or subject is None or at is None:
        raise BusError("a direct get answered without sequence, subject or time")
    return Recorded(int(sequence), subject, part.data, part.headers, _nanoseconds(parse_time(at)))


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def parse_time(text: str) -> datetime:
    """Read the broker's RFC 3339 time, whose fraction may have nine digits: more than a datetime holds."""
    whole, _, rest = text.rstrip("Z").partition(".")
    fraction = rest[:_MICROSECOND_DIGITS].ljust(_MICROSECOND_DIGITS, "0")
    return datetime.fromisoformat(f"{whole}.{fraction}").replace(tzinfo=UTC)
