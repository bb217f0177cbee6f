"""Which task a request is about, and whether it may begin: all that is asked before anything is stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from gateway.http.errors import ApiError, from_task_error, limit_reached, not_taken, store_full
from gateway.http.following import LAG_S
from gateway.http.wishes import IDEMPOTENCY_KEY, LAST_EVENT_ID, TASK, unknown_task
from gateway.intake.idempotency import body_digest, key_digest
from gateway.intake.queue_gate import TaskNotTaken
from gateway.limits.ticket import LimitReached
from streams.clock import now_ms
from streams.events import RequestKeyed
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id, parse_task_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.http.site import Site
    from gateway.http.wishes import Wishes
    from gateway.limits.ticket import Price, Ticket
    from streams.events import TaskSubmitted
    from streams.tokens import Token


class Asked(NamedTuple):
    """What a request is, as far as it matters here."""

    account: Token
    path: str
    body: bytes
    model: str
    wishes: Wishes
    goes_on: bool
    """Whether it wants the rest of a stream, not the whole."""
    stream: bool
    price: Callable[[], Price]
    """Says what it may use, as far as anybody can before."""
    draft: TaskSubmitted
    """What it demands."""
    beside: int = 0
    """How many tasks of the same request were let in before it."""


class Admitted(NamedTuple):
    """The task that a request is about."""

    key: TaskKey
    may_exist: bool
    """Whether its id has been used before, as far as we know."""
    exists: bool = False
    """Whether it is known to be stored."""


async def admit(site: Site, asked: Asked, idempotency_key: str | None, ticket: Ticket) -> Admitted:
    """Find out which task a request is about, and pay for it with ``ticket`` if it is new.

    A task that is stored already is never refused for want of room, or of a replica: what was accepted is kept. Only
    too many streams at once are too many, whatever they carry.

    Raises:
        ApiError: 409 if the key was used for another request, 404 if there is nothing to go on with, 400 if no replica
            can do what a new task demands, 429 or 503 with ``Retry-After`` if there is no room for it, or its account
            has had its share.
        LimitReached: if too many streams are open.
        BusError: if the streams cannot be read now.
    """
    if idempotency_key is not None:
        key, may_exist = await _keyed(site, asked, idempotency_key, ticket), True
    else:
        key, may_exist = TaskKey(asked.account, asked.wishes.task or new_task_id()), asked.wishes.task is not None
    if asked.goes_on:
        if not may_exist:
            raise _nothing_to_go_on_with()
        if not await site.submissions.exists(key):
            raise unknown_task(key.task)
        return await _stored(key, asked, ticket)
    refusal = await _refusal(site, asked, ticket)
    if refusal is None:
        return Admitted(key, may_exist)
    if may_exist and await site.submissions.exists(key):
        return await _stored(key, asked, ticket)
    raise refusal


async def _stored(key: TaskKey, asked: Asked, ticket: Ticket) -> Admitted:
    if asked.stream:
        await ticket.open_stream()
    return Admitted(key, may_exist=True, exists=True)


async def _keyed(site: Site, asked: Asked, idempotency_key: str, ticket: Ticket) -> TaskKey:
    digest, wanted = key_digest(idempotency_key), asked.wishes.task
    of_body = body_digest(asked.path, asked.body)
    standing = await site.keys.find(asked.account, digest)
    if standing is None and asked.goes_on and site.bus.core.has_choice:
        # The copy of the stream that has answered may lag behind.
        await asyncio.sleep(LAG_S)
        standing = await site.keys.find(asked.account, digest)
    if standing is None and asked.goes_on:
        raise _nothing_to_go_on_with()
    if standing is None:
        if (refusal := await _refusal(site, asked, ticket)) is not None:
            raise refusal
        first = RequestKeyed(at_ms=now_ms(), task=wanted or new_task_id(), body_digest=of_body)
        standing = await site.keys.claim(asked.account, digest, first)
    if standing.body_digest != of_body:
        raise _reused("another body")
    if wanted not in (None, standing.task):
        raise _reused(f"another {TASK}, {standing.task}")
    return TaskKey(asked.account, parse_task_id(standing.task))


async def _refusal(site: Site, asked: Asked, ticket: Ticket) -> ApiError | None:
    if (shortage := site.bus.stores.shortage) is not None:
        return store_full(shortage)
    if (cannot := site.inability(asked.draft)) is not None:
        return from_task_error(cannot)
    try:
        site.gate.check(asked.account, asked.model, asked.wishes.urgency, beside=asked.beside)
        # Last: what is refused for another reason costs nothing.
        await ticket.pay(asked.price, stream=asked.stream)
    except TaskNotTaken as error:
        return not_taken(error)
    except LimitReached as error:
        return limit_reached(error)
    return None


def _nothing_to_go_on_with() -> ApiError:
    message = f"{LAST_EVENT_ID} goes with the {TASK} or the {IDEMPOTENCY_KEY} of a request that was made before."
    return ApiError(400, message, code="invalid_value", param=LAST_EVENT_ID)


def _reused(difference: str) -> ApiError:
    message = f"This {IDEMPOTENCY_KEY} was used before, with {difference}. Use a new key for a new request."
    # OpenAI's clients would try a 409 again, as if somebody held a lock.
    never = {"x-should-retry": "false"}
    return ApiError(409, message, code="idempotency_key_reused", param=IDEMPOTENCY_KEY, headers=never)
