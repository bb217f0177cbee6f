"""One connection to one account of the bus: send, request, listen, and the fenced append to a stream.

Requests and appends share one inbox subscription with integer reply tokens, so each costs one future and no
subscription of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from mesh.bus.appends import append_headers, sequence_of
from mesh.bus.dialing import dial
from mesh.bus.direct_client import DirectClient
from mesh.bus.headers import NO_RESPONDERS, status_code
from mesh.bus.requests import Waiting
from mesh.errors import BusUnavailable, NoResponders, PublishUnknown, RequestTimedOut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.bus.appends import Fence
    from mesh.bus.dialing import LinkOptions
    from mesh.bus.direct_client import Delivery, Handler

REQUEST_TIMEOUT: Final = timedelta(seconds=5)
_SWEEP_S: Final = 0.25


class Collected(NamedTuple):
    """The answers to one question, and the status message that closed them."""

    parts: tuple[Delivery, ...]
    end: Delivery


class Link:
    """A connection that is open. Make one with ``connect``."""

    def __init__(self, client: DirectClient, options: LinkOptions) -> None:
        """Wrap a connected client; ``connect`` does this."""
        self._client = client
        self._options = options
        self._inbox = f"{options.inbox_prefix}.{uuid.uuid4().hex[:12]}"
        self._tokens = itertools.count(1)
        self._waiting: dict[str, Waiting] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def connect(cls, options: LinkOptions) -> Self:
        """Open a connection and its inbox.

        Raises:
            BusUnavailable: if no server answers in time or the credentials are refused.
        """
        client = DirectClient()
        await dial(client, options)
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
        if status_code(answer.headers) == NO_RESPONDERS:
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
        if code == NO_RESPONDERS:
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
        block = append_headers(fence, headers)
        try:
            answer = await self._ask(subject, data, block, timeout)
        except RequestTimedOut as error:
            raise PublishUnknown(f"no acknowledgement for {subject} in {timeout}") from error
        return sequence_of(subject, answer)

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
        self._waiting[number] = Waiting(future, self._loop.time() + timeout.total_seconds(), parts)
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
