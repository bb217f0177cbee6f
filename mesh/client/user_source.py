"""A task as its own account sees it: live by subscription, what was missed by asking the mesh.

A user has no right to read streams, so catching up is a request to ``api.user.<account>.events``. While nobody
answers (a broker or a dispatcher that restarts), the question is asked again until the client's patience ends.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from mesh.bus.live import LiveEvent
from mesh.errors import BusUnavailable, NoResponders, RequestTimedOut, TaskRefused, WrittenByNewer
from streams import subjects
from streams.codec import decode_task_event, encode
from streams.errors import UndecodableEvent
from streams.messages import (
    NEWER_VERSION,
    Cancel,
    CancelOutcome,
    EventsPage,
    EventsRequest,
    Refusal,
    StoreRequest,
    StoreStatus,
)

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.bus.live import LiveFeed, Watch
    from streams.messages import Wire
    from streams.subjects import TaskKey, UserVerb
    from streams.tokens import Token

log = logging.getLogger(__name__)

T = TypeVar("T", EventsPage, CancelOutcome, StoreStatus)

_ASK_TIMEOUT: Final = timedelta(seconds=2)
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 1.0
_NOT_FOUND: Final = 404
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500

_events_reply: Final = msgspec.msgpack.Decoder(EventsPage | Refusal)
_store_reply: Final = msgspec.msgpack.Decoder(StoreStatus | Refusal)
_cancel_reply: Final = msgspec.msgpack.Decoder(CancelOutcome | Refusal)


class UserCalls:
    """What an account may ask of the mesh, asked until there is an answer or ``patience`` is over."""

    def __init__(self, link: Link, account: Token, *, patience: timedelta) -> None:
        """Ask through ``link`` in the name of ``account``."""
        self._link = link
        self._account = account
        self._patience_s = patience.total_seconds()

    async def events(self, task: Token, *, after: int) -> EventsPage:
        """Return the stored events of a task past counter ``after``, or the first part of them.

        Raises:
            TaskRefused: if the mesh says no; its code and status say why.
            BusUnavailable: if nobody answers.
        """
        return await self._ask("events", EventsRequest(task=task, after=after), _events_reply)

    async def cancel(self, task: Token, reason: str) -> CancelOutcome:
        """Cancel a task and return how it ended, which may be what came before the cancel.

        Raises:
            TaskRefused: if the mesh says no.
            BusUnavailable: if nobody answers.
        """
        return await self._ask("cancel", Cancel(task=task, reason=reason), _cancel_reply)

    async def shortage(self) -> str | None:
        """Return why the mesh takes no new tasks, or None if it does, or nobody says. Asked once, not for long."""
        try:
            answer = await self._link.request(
                subjects.user_api(self._account, "store"), encode(StoreRequest()), timeout=_ASK_TIMEOUT
            )
            status = _checked(_store_reply, answer.data)
        except (NoResponders, RequestTimedOut, TaskRefused):
            return None
        return None if status.takes_tasks else status.reason

    async def _ask(self, verb: UserVerb, question: Wire, reply: msgspec.msgpack.Decoder[T | Refusal]) -> T:
        subject = subjects.user_api(self._account, verb)
        data = encode(question)
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                answer = await self._link.request(subject, data, timeout=_ASK_TIMEOUT)
                return _checked(reply, answer.data)
            except TaskRefused as refusal:
                # Asked too often: there is room for more questions soon.
                if refusal.status != _TOO_MANY or loop.time() >= give_up_at:
                    raise
            except (NoResponders, RequestTimedOut) as error:
                if loop.time() >= give_up_at:
                    raise BusUnavailable(f"nobody answers on {subject} ({error}): does a dispatcher run?") from error
                log.debug("%s: %s; asking again", subject, error)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


class UserSource:
    """Where an account's client reads a task: a ``mesh.bus.answer.TaskSource`` with no right but the account's own."""

    def __init__(self, feed: LiveFeed, calls: UserCalls, *, submitted_here: bool = False) -> None:
        """Follow ``feed``, catch up by ``calls``.

        Args:
            feed: what is stored for the account, live.
            calls: how to ask for what was missed.
            submitted_here: whether the broker has acknowledged the task to us: then "no such task" only means that
                no dispatcher has touched it yet.
        """
        self._feed = feed
        self._calls = calls
        self._submitted_here = submitted_here

    def watch(self, key: TaskKey) -> Watch:
        """Follow what is stored from now on."""
        return self._feed.watch(key)

    async def fetch(self, key: TaskKey, *, after_n: int, after_sequence: int) -> list[LiveEvent]:
        """Return what is stored past counter ``after_n``, page by page; ``after_sequence`` is for services.

        Raises:
            TaskRefused: if the mesh knows no such task.
            BusUnavailable: if nobody answers.
        """
        del after_sequence
        found: list[LiveEvent] = []
        cursor = after_n
        while True:
            page = await self._page(key.task, cursor)
            found += [LiveEvent(stored.sequence, stored.writer, bytes(stored.body)) for stored in page.events]
            reached = _reached(found, cursor)
            if not page.more or reached == cursor:
                return found
            cursor = reached

    async def _page(self, task: Token, after: int) -> EventsPage:
        try:
            return await self._calls.events(task, after=after)
        except TaskRefused as refusal:
            if self._submitted_here and refusal.status == _NOT_FOUND:
                return EventsPage(task=task, events=())
            raise


def _checked(reply: msgspec.msgpack.Decoder[T | Refusal], data: bytes) -> T:
    try:
        answer = reply.decode(data)
    except msgspec.DecodeError as error:
        raise RequestTimedOut(f"the answer cannot be read: {error}") from error
    if isinstance(answer, Refusal):
        if answer.code == NEWER_VERSION:
            raise WrittenByNewer(answer.message)
        if answer.status >= _SERVER_ERROR:
            # The mesh cannot say now, which is no answer either.
            raise RequestTimedOut(answer.message)
        raise TaskRefused(answer.message, code=answer.code, status=answer.status)
    return answer


def _reached(events: list[LiveEvent], cursor: int) -> int:
    """How far the counter goes without a hole: a forged event may claim any counter and must not skip true ones."""
    reached = cursor
    for event in events:
        try:
            counter = decode_task_event(event.data).n
        except UndecodableEvent:
            continue
        reached = counter if counter == reached + 1 else reached
    return reached
