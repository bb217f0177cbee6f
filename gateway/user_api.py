"""What an account's clients may ask on the bus: the events of a task that they missed; whether there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Raw

from gateway.intake.submissions import Submissions
from gateway.limits.reads import NOT_COUNTED
from gateway.requests import Desk
from mesh.bus.headers import CONTENT_TYPE, header
from mesh.bus.task_log import Stored, decoded, refuse_newer
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode, encode_json, is_json
from streams.messages import EventsPage, EventsRequest, Refusal, StoredEvent, StoreRequest, StoreStatus
from streams.subjects import TaskKey
from streams.tasks.task import Rejection, TaskState, advance, fold
from streams.tasks.task_id import parse_task_id

if TYPE_CHECKING:
    from gateway.limits.reads import Reads
    from mesh.bus.direct_client import Delivery
    from mesh.bus.service_bus import Bus

_QUEUE: Final = "gateways"
_PAGE: Final = 256
_PAGE_BYTES: Final = 512 * 1024
"""A page of vectors is full before it has so many events: it has to fit into one message."""


class UserApi:
    """Serves ``api.user.<account>.events`` and ``.store``.

    The caller's account stands in the subject, which the broker checks.
    """

    def __init__(self, bus: Bus, reads: Reads = NOT_COUNTED) -> None:
        """Prepare; ``reads`` counts the questions of each account."""
        self._reads = reads
        self._bus = bus
        self._desk = Desk(bus.edge)
        self._submissions = Submissions(bus.edge)

    async def start(self) -> None:
        """Begin to serve."""
        everyone, inbox_of, refuse = subjects.user_api_all("events"), subjects.inbox_of_user_call, self._reads.refusal
        await self._desk.serve(everyone, EventsRequest, self._events, queue=_QUEUE, inbox_of=inbox_of, refuse=refuse)
        everyone = subjects.user_api_all("store")
        await self._desk.serve(everyone, StoreRequest, self._store, queue=_QUEUE, inbox_of=inbox_of, refuse=refuse)

    async def stop(self) -> None:
        """Serve no more."""
        await self._desk.stop()

    async def _store(self, delivery: Delivery, request: StoreRequest) -> StoreStatus:
        del delivery, request
        reason = self._bus.stores.shortage
        return StoreStatus(at_ms=now_ms(), interval_s=0.0, takes_tasks=reason is None, reason=reason or "")

    async def _events(self, delivery: Delivery, request: EventsRequest) -> EventsPage | Refusal:
        key = TaskKey(subjects.parse_call(delivery.subject).caller, parse_task_id(request.task))
        found = await self._bus.log.read_current(key)
        stored = decoded(found)
        refuse_newer(key, found, fold((one.writer, one.event) for one in stored).n)
        if not stored and not await self._submissions.exists(key):
            # Without this, whoever follows a task that is not there would wait for ever.
            return Refusal(code="task_not_found", message=f"There is no task {key.task} here.", status=404)
        as_json = is_json(header(delivery.headers, CONTENT_TYPE))
        return page_of(key, stored, after=request.after, as_json=as_json)


def page_of(key: TaskKey, stored: list[Stored], *, after: int, as_json: bool) -> EventsPage:
    """Return the valid events of a task past counter ``after``, at most a page of them."""
    state, valid = TaskState(), list[Stored]()
    for item in stored:
        outcome = advance(state, item.writer, item.event)
        if isinstance(outcome, Rejection):
            continue
        state = outcome
        if state.n > after:
            valid.append(item)
    write, size = encode_json if as_json else encode, 0
    events: list[StoredEvent] = []
    for sequence, writer, event in valid[:_PAGE]:
        body = write(event)
        size += len(body)
        if events and size > _PAGE_BYTES:
            break
        events.append(StoredEvent(sequence=sequence, writer=writer, body=Raw(body)))
    return EventsPage(task=key.task, events=tuple(events), more=len(valid) > len(events))
