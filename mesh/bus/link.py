"""One connection to one account of the bus: send, request, listen, and the fenced append to a stream.

Requests and appends share one inbox subscription with integer reply tokens, so each costs one future and no
subscription of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import msgspec
from msgspec import Struct

from mesh.bus.direct_client import DirectClient
from mesh.bus.headers import EXPECTED_LAST, EXPECTED_LAST_SUBJECT, header_block, status_code
from mesh.errors import (
    BusError,
    BusUnavailable,
    FenceMismatch,
    NoResponders,
    PublishRefused,
    PublishUnknown,
    RequestTimedOut,
    SubjectTaken,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.bus.direct_client import Delivery, Handler

log = logging.getLogger(__name__)

REQUEST_TIMEOUT: Final = timedelta(seconds=5)
_NO_RESPONDERS: Final = 503
_WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
_SUBJECT_FULL: Final = 10077
_SWEEP_S: Final = 0.25
_RECONNECT_WAIT_S: Final = 0.25


class Fence(Struct, frozen=True):
    """The last sequence that the writer has seen on ``subject_filter``; the broker refuses the append if it moved.

    All writers of a subject family must name the same filter, byte for byte.
    """

    subject_filter: str
    last_sequence: int


class Collected(NamedTuple):
    """The answers to one question, and the status message that closed them."""

    parts: tuple[Delivery, ...]
    end: Delivery


class LinkOptions(Struct, frozen=True, kw_only=True):
    """How to connect. ``seed_file`` None connects without credentials, which the shipped broker refuses."""

    servers: tuple[str, ...]
    name: str
    inbox_prefix: str
    seed_file: Path | None = None
    connect_timeout: timedelta = timedelta(seconds=5)


class _PubAckError(Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(Struct):
    seq: int = 0
    error: _PubAckError | None = None
    duplicate: bool = False


class _Waiting:
    """One request in flight; ``parts`` gathers the replies of a request that has several."""

    __slots__ = ("due", "future", "parts")

    def __init__(self, future: asyncio.Future[Delivery], due: float, parts: list[Delivery] | None) -> None:
        self.future = future
        self.due = due
        self.parts = parts

    def take(self, delivery: Delivery) -> None:
        if self.future.done():
            return
        if self.parts is None or status_code(delivery.headers) is not None:
            self.future.set_result(delivery)
        else:
            self.parts.append(delivery)

    def fail(self, error: BusError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


_pub_ack: Final = msgspec.json.Decoder(_PubAck)


class Link:
    """A connection that is open. Make one with ``connect``."""

    def __init__(self, client: DirectClient, options: LinkOptions) -> None:
        """Wrap a connected client; ``connect`` does this."""
        self._client = client
        self._options = options
        self._inbox = f"{options.inbox_prefix}.{uuid.uuid4().hex[:12]}"
        self._tokens = itertools.count(1)
        self._waiting: dict[str, _Waiting] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def connect(cls, options: LinkOptions) -> Self:
        """Open a connection and its inbox.

        Raises:
            BusUnavailable: if no server answers in time or the credentials are refused.
        """
        client = DirectClient()
        await _dial(client, options)
        link = cls(client, options)
        client.on_drop = link._on_drop
        await client.listen(f"{link._inbox}.*", link._on_reply)
        link._sweeper = asyncio.create_task(link._sweep(), name=f"link-sweep-{options.name}")
        return link

    @property
    def is_connected(self) -> bool:
        """Whether the server is reachable right now."""
        return self._client.is_connected

    @property
    def name(self) -> str:
        """The name under which the server knows this connection."""
        return self._options.name

    @property
    def inbox(self) -> str:
        """This connection's own inbox prefix; subjects under it are nobody else's."""
        return self._inbox

    @property
    def max_payload(self) -> int:
        """Largest message in bytes that the server takes."""
        return self._client.max_payload

    @property
    def client(self) -> DirectClient:
        """The nats-py client, for what is off the hot path (stream management, object store)."""
        return self._client

    def send(self, subject: str, data: bytes, *, reply: str = "", headers: bytes = b"") -> None:
        """Publish on core NATS: at most once, nothing awaited."""
        self._client.send(subject, data, reply, headers)

    async def listen(self, subject: str, handler: Handler, *, queue: str = "") -> Listener:
        """Call ``handler`` for each message on ``subject``, in order, from the read loop."""
        sid = await self._client.listen(subject, handler, queue)
        return Listener(self._client, sid)

    async def request(
        self, subject: str, data: bytes, *, headers: bytes = b"", timeout: timedelta = REQUEST_TIMEOUT
    ) -> Delivery:
        """Ask and wait for the one answer.

        Raises:
            NoResponders: if nobody listens there.
            RequestTimedOut: if nobody answered in time; whether it was served is unknown.
        """
        answer = await self._ask(subject, data, headers, timeout)
        if status_code(answer.headers) == _NO_RESPONDERS:
            raise NoResponders(f"nobody answers on {subject}")
        return answer

    async def collect(self, subject: str, data: bytes, *, timeout: timedelta = REQUEST_TIMEOUT) -> Collected:
        """Ask a question that has many answers, closed by one that carries a status (JetStream's batched gets).

        Raises:
            NoResponders: if nobody listens there.
            RequestTimedOut: if the closing answer did not come in time.
        """
        parts: list[Delivery] = []
        last = await self._ask(subject, data, b"", timeout, parts)
        code = status_code(last.headers)
        if code == _NO_RESPONDERS:
            raise NoResponders(f"nobody answers on {subject}")
        return Collected(tuple(parts), last)

    async def append(
        self,
        subject: str,
        data: bytes,
        *,
        fence: Fence | None = None,
        headers: Sequence[tuple[str, str]] = (),
        timeout: timedelta = REQUEST_TIMEOUT,
    ) -> int:
        """Publish to a stream and wait until it is stored; returns the stream sequence.

        Raises:
            FenceMismatch: if something was stored since ``fence`` was read. A question, not a verdict: look again.
            SubjectTaken: if the subject holds its one message already.
            PublishUnknown: if no answer came; it may be stored or not.
            PublishRefused: if the stream will not have it.
        """
        block = _append_headers(fence, headers)
        try:
            answer = await self._ask(subject, data, block, timeout)
        except RequestTimedOut as error:
            raise PublishUnknown(f"no acknowledgement for {subject} in {timeout}") from error
        return _sequence_of(subject, answer)

    def reply_to(self, delivery: Delivery, data: bytes, headers: bytes = b"") -> None:
        """Answer a request, if it asked for an answer."""
        if delivery.reply:
            self._client.send(delivery.reply, data, "", headers)

    async def close(self) -> None:
        """Send what is queued and disconnect; what still waits for an answer gets ``BusUnavailable``."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for waiting in tuple(self._waiting.values()):
            waiting.fail(BusUnavailable(f"connection {self.name} was closed"))
        self._waiting.clear()
        if not self._client.is_closed:
            await self._client.leave()

    async def _ask(
        self, subject: str, data: bytes, headers: bytes, timeout: timedelta, parts: list[Delivery] | None = None
    ) -> Delivery:
        if self._client.is_closed:
            raise BusUnavailable(f"connection {self.name} is closed")
        number = str(next(self._tokens))
        future: asyncio.Future[Delivery] = self._loop.create_future()
        self._waiting[number] = _Waiting(future, self._loop.time() + timeout.total_seconds(), parts)
        try:
            self._client.send(subject, data, f"{self._inbox}.{number}", headers)
            return await future
        finally:
            self._waiting.pop(number, None)

    def _on_reply(self, delivery: Delivery) -> None:
        waiting = self._waiting.get(delivery.subject.rpartition(".")[2])
        if waiting is not None:
            waiting.take(delivery)

    def _on_drop(self) -> None:
        # Their answers are lost with the connection: nobody need wait for the time-out to ask again.
        for waiting in tuple(self._waiting.values()):
            waiting.fail(RequestTimedOut("the connection was lost; whether it was served is unknown"))

    async def _sweep(self) -> None:
        # One timer for all: a timer per request costs more than the request's own bookkeeping.
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = self._loop.time()
            for waiting in tuple(self._waiting.values()):
                if waiting.due < now:
                    waiting.fail(RequestTimedOut("no answer in time; whether it was served is unknown"))


class Listener:
    """One subscription that can be ended."""

    def __init__(self, client: DirectClient, sid: int) -> None:
        """Made by ``Link.listen``."""
        self._client = client
        self._sid = sid

    async def close(self) -> None:
        """Stop listening."""
        await self._client.silence(self._sid)


def _append_headers(fence: Fence | None, headers: Sequence[tuple[str, str]]) -> bytes:
    if fence is None:
        return header_block(*headers) if headers else b""
    return header_block(
        (EXPECTED_LAST, str(fence.last_sequence)), (EXPECTED_LAST_SUBJECT, fence.subject_filter), *headers
    )


def _sequence_of(subject: str, answer: Delivery) -> int:
    if status_code(answer.headers) == _NO_RESPONDERS:
        raise PublishRefused(f"no stream takes {subject}: provision the mesh (ig3 broker does)")
    try:
        ack = _pub_ack.decode(answer.data)
    except msgspec.DecodeError as error:
        raise PublishUnknown(f"unreadable acknowledgement for {subject}: {error}") from error
    if ack.error is None:
        return ack.seq
    if ack.error.err_code in _WRONG_LAST_SEQUENCE:
        raise FenceMismatch(f"{subject}: {ack.error.description}")
    if ack.error.err_code == _SUBJECT_FULL:
        raise SubjectTaken(f"{subject} holds its one message already")
    raise PublishRefused(f"{subject}: {ack.error.description} ({ack.error.err_code})")


class _Complaints:
    """What nats-py complains about. While the bus is away it repeats itself at each try: then once is enough."""

    def __init__(self, client: DirectClient, name: str) -> None:
        self._client = client
        self._name = name
        self._said: dict[str, None] = {}

    def __str__(self) -> str:
        return "; ".join(self._said)

    async def on_error(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if self._client.is_connected or text not in self._said:
            log.warning("connection %s: %s", self._name, text)
        if not self._client.is_connected:
            self._said[text] = None

    async def on_drop(self) -> None:
        if not self._client.is_leaving:
            log.warning("connection %s lost, reconnecting", self._name)
        self._client.on_drop()

    async def on_return(self) -> None:
        self._said.clear()
        log.info("connection %s is back", self._name)


async def _dial(client: DirectClient, options: LinkOptions) -> None:
    complaints = _Complaints(client, options.name)
    timeout_s = options.connect_timeout.total_seconds()
    try:
        async with asyncio.timeout(timeout_s):
            await client.connect(
                servers=list(options.servers),
                name=options.name,
                inbox_prefix=options.inbox_prefix.encode(),
                nkeys_seed=str(options.seed_file) if options.seed_file else None,
                error_cb=complaints.on_error,
                disconnected_cb=complaints.on_drop,
                reconnected_cb=complaints.on_return,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_WAIT_S,  # pyright: ignore[reportArgumentType] - used as seconds to sleep, so a float will do
                skip_subject_validation=True,
            )
    except Exception as error:
        await client.leave()
        reason = str(error) or str(complaints) or f"no answer within {timeout_s:g} s"
        raise BusUnavailable(f"cannot reach the bus at {', '.join(options.servers)}: {reason}") from error
