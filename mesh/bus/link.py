"""One connection to one account of the bus: send, request, listen, and the fenced append to a stream.

Requests and appends share one inbox subscription with integer reply tokens, so each costs one future and no
subscription of its own.

Where the bus is a cluster of servers, a link leaves one that does not reach the streams (``mesh.bus.doubt``).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from mesh.bus.appends import append_headers, is_not_now, sequence_of
from mesh.bus.dialing import dial
from mesh.bus.direct_client import DirectClient
from mesh.bus.doubt import OVERDUE, Doubt
from mesh.bus.headers import NO_RESPONDERS, status_code
from mesh.bus.requests import Waiting
from mesh.errors import (
    BusError,
    BusUnavailable,
    FenceMismatch,
    NoResponders,
    PublishUnknown,
    RequestTimedOut,
    StoreFull,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mesh.bus.appends import Fence
    from mesh.bus.dialing import LinkOptions
    from mesh.bus.direct_client import Delivery, Handler

log = logging.getLogger(__name__)

REQUEST_TIMEOUT: Final = timedelta(seconds=5)
_SWEEP_S: Final = 0.25
_FULL_PAUSE_S: Final = 0.25
_PAUSE_S: Final = 0.2
"""Before a stream without a leader is tried again."""
_JETSTREAM: Final = "$JS."
_ANY_COPY: Final = "$JS.API.DIRECT."
"""Any copy of a stream answers here, also one that is cut off: such an answer proves nothing about the server."""
_LEADER_OF_ALL: Final = "$JS.API.STREAM.NAMES"
"""Only the leader of the whole cluster answers this."""
_RENEWAL: Final = (0.55, 0.75)
"""After which part of its time a login is renewed."""
_PROBE_EVERY: Final = 20
"""How often, in ticks, a link that may ask looks whether its server still has a cluster."""


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
        self._probe: asyncio.Task[None] | None = None
        self._storing = Doubt()
        self._asking = Doubt()
        self._has_choice = len(options.servers) > 1
        self._on_return: list[Callable[[], None]] = []
        self._loop = asyncio.get_running_loop()
        self._renew_at_s = self._next_renewal()

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
        client.on_return, client.on_end = link._on_new_connection, link._tell_return
        await client.listen(f"{link._inbox}.*", link._on_reply)
        link._sweeper = asyncio.create_task(link._sweep(), name=f"link-sweep-{options.name}")
        return link

    @property
    def is_connected(self) -> bool:
        """Whether the server is reachable right now."""
        return self._client.is_connected

    @property
    def has_choice(self) -> bool:
        """Whether the bus is a cluster, as far as this side was told: then streams have copies that may lag behind."""
        return self._has_choice

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

    def on_return(self, handler: Callable[[], None]) -> Callable[[], None]:
        """Call ``handler`` whenever the connection is another one, or closed for good; returns what ends it.

        What the broker lent to a connection (the right to answer a request) is gone with it.
        """
        self._on_return.append(handler)
        return lambda: self._on_return.remove(handler)

    async def change_server(self, why: str) -> None:
        """Leave this server for another one of the list, if there is one; what waits for an answer is then in doubt."""
        self._storing.dispel()
        self._asking.dispel()
        if self._has_choice and self._client.is_connected:
            log.warning("connection %s leaves %s: %s", self.name, self._client.server_address, why)
            await self._client.change_server()

    async def listen(self, subject: str, handler: Handler, *, queue: str = "") -> Listener:
        """Call ``handler`` for each message on ``subject``, in order, from the read loop.

        Raises:
            BusUnavailable: if the connection is closed for good.
        """
        if self._client.is_closed:
            raise BusUnavailable(f"connection {self.name} is closed")
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
        answer = await self._question(subject, data, headers, timeout)
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
        last = await self._question(subject, data, b"", timeout, parts)
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
            StoreFull: if there is no room for it now; nothing is stored.
            PublishUnknown: if no answer came; it may be stored or not.
            PublishRefused: if the stream will not have it.
        """
        block = append_headers(fence, headers)
        try:
            answer = await self._ask(subject, data, block, timeout, self._storing)
            if answer.headers and self._has_choice:
                answer = await self._until_led(answer, subject, data, block, timeout, self._storing)
        except RequestTimedOut as error:
            raise PublishUnknown(f"no acknowledgement for {subject}: {error}") from error
        if self._has_choice and status_code(answer.headers) == NO_RESPONDERS:
            raise PublishUnknown(f"no server takes {subject}: its stream has no leader now, or was never made")
        try:
            sequence = sequence_of(subject, answer)
        except StoreFull:
            # A broker without room says so at once: whoever asks again must not do so thousands of times a second.
            await asyncio.sleep(_FULL_PAUSE_S)
            raise
        except (FenceMismatch, PublishUnknown):
            self._storing.refused()
            raise
        if self._storing.is_there:
            self._storing.dispel()
        return sequence

    def reply_to(self, delivery: Delivery, data: bytes, headers: bytes = b"") -> None:
        """Answer a request, if it asked for an answer."""
        if delivery.reply:
            self._client.send(delivery.reply, data, "", headers)

    async def close(self) -> None:
        """Send what is queued and disconnect; what still waits for an answer gets ``BusUnavailable``."""
        for task in (self._sweeper, self._probe):
            if task is not None:
                task.cancel()
        for waiting in tuple(self._waiting.values()):
            waiting.fail(BusUnavailable(f"connection {self.name} was closed"))
        self._waiting.clear()
        if not self._client.is_closed:
            await self._client.leave()

    async def _question(
        self, subject: str, data: bytes, headers: bytes, timeout: timedelta, parts: list[Delivery] | None = None
    ) -> Delivery:
        """Ask a service; or JetStream, which in a cluster may have no leader for a while."""
        doubt = self._asking if self._has_choice and subject.startswith(_JETSTREAM) else None
        answer = await self._ask(subject, data, headers, timeout, doubt, parts)
        if doubt is None:
            return answer
        answer = await self._until_led(answer, subject, data, headers, timeout, doubt, parts)
        if not subject.startswith(_ANY_COPY) and status_code(answer.headers) != NO_RESPONDERS:
            (doubt.refused if is_not_now(answer) else doubt.dispel)()
        return answer

    async def _until_led(
        self,
        answer: Delivery,
        subject: str,
        data: bytes,
        headers: bytes,
        timeout: timedelta,
        doubt: Doubt,
        parts: list[Delivery] | None = None,
    ) -> Delivery:
        """Send it again as long as nobody listens: what nobody took is surely not stored."""
        due = self._loop.time() + timeout.total_seconds()
        while status_code(answer.headers) == NO_RESPONDERS and self._loop.time() + _PAUSE_S < due:
            doubt.refused()
            await asyncio.sleep(_PAUSE_S)
            left = timedelta(seconds=due - self._loop.time())
            answer = await self._ask(subject, data, headers, left, doubt, parts)
        return answer

    async def _ask(
        self,
        subject: str,
        data: bytes,
        headers: bytes,
        timeout: timedelta,
        doubt: Doubt | None,
        parts: list[Delivery] | None = None,
    ) -> Delivery:
        if self._client.is_closed:
            raise BusUnavailable(f"connection {self.name} is closed")
        number = str(next(self._tokens))
        future: asyncio.Future[Delivery] = self._loop.create_future()
        self._waiting[number] = Waiting(future, self._loop.time(), timeout.total_seconds(), doubt, parts)
        try:
            self._client.send(subject, data, f"{self._inbox}.{number}", headers)
            return await future
        finally:
            self._waiting.pop(number, None)

    def _on_reply(self, delivery: Delivery) -> None:
        waiting = self._waiting.get(delivery.subject.rpartition(".")[2])
        if waiting is not None:
            waiting.take(delivery)

    def _on_new_connection(self) -> None:
        self._renew_at_s = self._next_renewal()
        self._tell_return()

    def _next_renewal(self) -> float:
        """When to show anew who we are: well before the broker would end the connection."""
        login = self._options.login
        if login is None:
            return float("inf")
        # Not all at once: what was started together would come back together.
        part = random.uniform(*_RENEWAL)  # noqa: S311 - spreads load, guards nothing
        return self._loop.time() + part * login.lasts.total_seconds()

    def _tell_return(self) -> None:
        for handler in tuple(self._on_return):
            handler()

    def _on_drop(self) -> None:
        # Their answers are lost with the connection: nobody need wait for the time-out to ask again.
        for waiting in tuple(self._waiting.values()):
            waiting.fail(RequestTimedOut("the connection was lost; whether it was served is unknown"))

    async def _sweep(self) -> None:
        # One timer for all: a timer per request costs more than the request's own bookkeeping.
        for tick in itertools.count(1):
            await self._rest()
            given_up = self._give_up()
            if self._loop.time() >= self._renew_at_s and self._client.is_connected:
                self._renew_at_s = self._next_renewal()
                await self._client.renew()
            is_time = [self._weigh(doubt, given_up) for doubt in (self._storing, self._asking)]
            if self._has_choice and any(is_time):
                await self.change_server("no stream has answered there for a while")
            # One sign against the server is looked into at once.
            is_due = self._asking.is_there or tick % _PROBE_EVERY == 0
            if is_due and self._has_choice and self._options.may_ask_streams and not self._is_probing:
                self._probe = asyncio.create_task(self._look_at_server(), name=f"link-probe-{self.name}")

    async def _rest(self) -> None:
        """Wait for the next tick. What came while this process itself stood still is read before anything is late."""
        due_s = self._loop.time() + _SWEEP_S
        await asyncio.sleep(_SWEEP_S)
        late_s = self._loop.time() - due_s
        if late_s > _SWEEP_S:
            for waiting in self._waiting.values():
                waiting.put_off(late_s)

    def _give_up(self) -> list[Waiting]:
        now = self._loop.time()
        late = [waiting for waiting in self._waiting.values() if waiting.due < now]
        for waiting in late:
            waiting.fail(RequestTimedOut("no answer in time; whether it was served is unknown"))
        return late

    def _weigh(self, doubt: Doubt, given_up: list[Waiting]) -> bool:
        asked_before = self._loop.time() - OVERDUE.total_seconds()
        return doubt.tick(
            is_overdue=any(each.doubt is doubt and each.asked < asked_before for each in self._waiting.values()),
            given_up=sum(each.doubt is doubt for each in given_up),
        )

    @property
    def _is_probing(self) -> bool:
        return self._probe is not None and not self._probe.done()

    async def _look_at_server(self) -> None:
        """Ask what only the whole cluster can answer: who merely reads would else never notice that it is cut off."""
        with contextlib.suppress(BusError):
            await self.request(_LEADER_OF_ALL, b"")


class Listener:
    """One subscription that can be ended."""

    def __init__(self, client: DirectClient, sid: int) -> None:
        """Made by ``Link.listen``."""
        self._client = client
        self._sid = sid

    async def close(self) -> None:
        """Stop listening."""
        await self._client.silence(self._sid)
