"""Reading a stream from anywhere to its end and on, in order, without a hole and without a repeat.

An ordered consumer (ADR-17 of NATS) of our own: ephemeral, without acknowledgements, its messages numbered. A missing
number, a silent broker or a reconnect makes a new one, right behind the last message received. Messages are pulled, a
bounded number and size ahead of the reader: the window of a push consumer grows until it is as large as the broker's
own limit for a slow reader, which then cuts the connection.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import uuid
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
from msgspec import Struct

from mesh.bus.headers import status_code
from mesh.errors import BusError, NoResponders, RequestTimedOut
from mesh.history.stream_facts import Recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener

log = logging.getLogger(__name__)

_PULL: Final = 1000
_PULLS: Final = 4
_PULL_BYTES: Final = 2 * 1024 * 1024
"""More than the largest message that the broker takes."""
_HELD_BYTES: Final = 8 * 1024 * 1024
_HEARTBEAT_S: Final = 1
_SILENT_S: Final = 3.5
_EXPIRES_S: Final = 30
_INACTIVE_S: Final = 60
_RETRY_S: Final = 0.25
_SECOND_NS: Final = 1_000_000_000
_ACK_TOKENS: Final = 9
"""``$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>``."""
_STREAM_NOT_FOUND: Final = 10059
_IDLE_HEARTBEAT: Final = 100
_NO_RESPONDERS: Final = 503


class Start(Struct, frozen=True, kw_only=True):
    """Where to begin: behind a sequence, at a time, or (both None) with what is stored from now on."""

    after_sequence: int | None = 0
    since: datetime | None = None


FROM_FIRST: Final = Start()
FROM_NOW: Final = Start(after_sequence=None)


class _Delivered(Struct):
    stream_seq: int = 0


class _Error(Struct):
    err_code: int = 0
    description: str = ""


class _Created(Struct):
    num_pending: int = 0
    delivered: _Delivered = msgspec.field(default_factory=_Delivered)
    error: _Error | None = None


_created: Final = msgspec.json.Decoder(_Created)


class OrderedReader:
    """Reads one stream; use it in ``async with``."""

    def __init__(self, link: Link, stream: str, *, start: Start = FROM_FIRST, filters: Sequence[str] = ()) -> None:
        """Prepare to read ``stream``, all of it or what matches one of ``filters``."""
        self._link = link
        self._stream = stream
        self._start = start
        self._filters = tuple(filters)
        self._name = f"read-{uuid.uuid4().hex[:12]}"
        self._inbox = f"{link.inbox}.{self._name}"
        self._buffer: deque[Recorded] = deque()
        self._held_bytes = 0
        self._pulls: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._last: int | None = start.after_sequence
        self._pending: int | None = None
        self._generation = 0
        self._expected = -1
        self._connection = -1
        self._heard_at = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._listener: Listener | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def is_caught_up(self) -> bool:
        """Whether the broker has said that nothing more is stored, and all of it was taken."""
        return self._pending == 0 and not self._buffer

    async def __aenter__(self) -> Self:
        """Begin to read.

        Raises:
            BusError: if there is no such stream.
        """
        self._listener = await self._link.listen(f"{self._inbox}.*", self._on_delivery)
        try:
            await self._renew(is_first=True)
        except BaseException:
            await self._listener.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop reading."""
        if self._listener is not None and not self._link.client.is_closed:
            self._delete()
            await self._listener.close()

    async def take(self, *, wait_s: float) -> list[Recorded]:
        """Return what has arrived, in order, waiting up to ``wait_s`` for the first; empty when nothing came."""
        give_up_at = self._loop.time() + wait_s
        while not self._buffer:
            if self._is_broken():
                await self._renew()
                continue
            left_s = give_up_at - self._loop.time()
            if left_s <= 0:
                break
            await self._wait(min(left_s, _HEARTBEAT_S))
        taken = list(self._buffer)
        self._buffer.clear()
        self._held_bytes = 0
        self._pull()
        return taken

    def restart(self) -> None:
        """Doubt the consumer: make a new one before the next message."""
        self._expected = -1

    async def _wait(self, wait_s: float) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(wait_s, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _is_broken(self) -> bool:
        is_silent = self._loop.time() - self._heard_at > _SILENT_S
        return self._expected < 0 or is_silent or self._connection != self._link.client.stats["reconnects"]

    # --- the consumer at the broker --------------------------------------------------------------------------------

    async def _renew(self, *, is_first: bool = False) -> None:
        self._delete()
        self._generation += 1
        self._expected = 1
        self._connection = self._link.client.stats["reconnects"]
        subject = f"$JS.API.CONSUMER.CREATE.{self._stream}.{self._consumer}"
        body = {"stream_name": self._stream, "config": self._config()}
        try:
            answer = await self._link.request(subject, json.dumps(body).encode())
            self._accept(_created.decode(answer.data), is_first=is_first)
        except (NoResponders, RequestTimedOut, msgspec.DecodeError) as error:
            log.info("stream %s cannot be read now (%s); trying again", self._stream, error)
            self._expected = -1
            await asyncio.sleep(_RETRY_S)

    def _accept(self, created: _Created, *, is_first: bool) -> None:
        error = created.error
        if error is None:
            self._pending = created.num_pending
            # Where "from now" and "since" begin is fixed at once: a second consumer must begin there too.
            self._last = created.delivered.stream_seq if self._last is None else self._last
            self._pull()
        elif is_first and error.err_code == _STREAM_NOT_FOUND:
            raise BusError(f"there is no stream {self._stream}: `ig3 streams list` shows which there are")
        else:
            raise RequestTimedOut(error.description)

    @property
    def _consumer(self) -> str:
        return f"{self._name}-{self._generation}"

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "ack_policy": "none",
            "inactive_threshold": _INACTIVE_S * _SECOND_NS,
            "mem_storage": True,
            "num_replicas": 1,
            **self._where(),
        }
        if self._filters:
            config["filter_subjects"] = list(self._filters)
        return config

    def _where(self) -> dict[str, Any]:
        if self._last is not None:
            return {"deliver_policy": "by_start_sequence", "opt_start_seq": self._last + 1}
        if self._start.since is not None:
            since = self._start.since.astimezone(UTC).isoformat().replace("+00:00", "Z")
            return {"deliver_policy": "by_start_time", "opt_start_time": since}
        return {"deliver_policy": "new"}

    def _pull(self) -> None:
        """Ask for as much as the reader has room for, in several requests, so that the broker never waits for us."""
        if self._expected < 0:
            return
        while len(self._pulls) < _PULLS and self._room() >= _PULL and self._held_bytes < _HELD_BYTES:
            if not self._pulls:
                self._heard_at = self._loop.time()
            number = f"{self._generation}-{next(self._numbers)}"
            self._pulls[number] = _PULL
            body = {
                "batch": _PULL,
                "max_bytes": _PULL_BYTES,
                "expires": _EXPIRES_S * _SECOND_NS,
                "idle_heartbeat": _HEARTBEAT_S * _SECOND_NS,
            }
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
            self._link.send(subject, json.dumps(body).encode(), reply=f"{self._inbox}.{number}")

    def _room(self) -> int:
        return _PULL * _PULLS - len(self._buffer) - sum(self._pulls.values())

    def _delete(self) -> None:
        self._pulls.clear()
        if self._generation:
            self._link.send(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}", b"")

    # --- what it sends, from the read loop -------------------------------------------------------------------------

    def _on_delivery(self, delivery: Delivery) -> None:
        # A message keeps its own subject; a status comes on the inbox of the pull that it is about.
        if delivery.subject.startswith(self._inbox):
            self._on_status(delivery)
        else:
            self._on_message(delivery)
        self._wake()

    def _on_message(self, delivery: Delivery) -> None:
        tokens = delivery.reply.split(".")
        # Some servers put a domain and an account before the stream, and a random token at the end.
        offset = 0 if len(tokens) == _ACK_TOKENS else 2
        if tokens[offset + 3] != self._consumer or self._expected < 0:
            return
        self._heard_at = self._loop.time()
        if int(tokens[offset + 6]) != self._expected:
            self._expected = -1
            return
        self._expected += 1
        self._last = int(tokens[offset + 5])
        self._pending = int(tokens[offset + 8])
        stored_ns = int(tokens[offset + 7])
        self._buffer.append(Recorded(self._last, delivery.subject, delivery.data, delivery.headers, stored_ns))
        self._held_bytes += len(delivery.data)
        self._count_down()

    def _count_down(self) -> None:
        # The broker serves the pulls in the order in which they came.
        number, left = next(iter(self._pulls.items()), ("", 0))
        if left > 1:
            self._pulls[number] = left - 1
        else:
            self._pulls.pop(number, None)
            self._pull()

    def _on_status(self, delivery: Delivery) -> None:
        number = delivery.subject.rpartition(".")[2]
        if number not in self._pulls:
            return
        self._heard_at = self._loop.time()
        code = status_code(delivery.headers)
        if code == _NO_RESPONDERS:
            self._expected = -1
        elif code != _IDLE_HEARTBEAT:
            # Expired, or the next message is too large for what is left of it.
            del self._pulls[number]
            self._pull()
