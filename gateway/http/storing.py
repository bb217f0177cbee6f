"""The moment in which a request becomes a task: counted, charged, stored, or none of these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.http.submitting import submit
from gateway.limits.bounds import capped
from mesh.access.passed_mark import PASSED, passed_mark
from streams import subjects

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.http.admission import Admitted
    from gateway.http.site import Site
    from gateway.http.submitting import Headers
    from gateway.http.wishes import Wishes
    from gateway.limits.ticket import Ticket
    from mesh.bus.live import Watch
    from streams.events import TaskSubmitted


async def store_task(
    site: Site,
    admitted: Admitted,
    model: str,
    task: Awaitable[TaskSubmitted],
    wishes: Wishes,
    ticket: Ticket,
    *,
    headers: Headers = (),
) -> Watch | None:
    """Store a task that was admitted; None means that it was stored before.

    Raises:
        ApiError: if it cannot be stored, or what ``task`` raises.
    """
    key = admitted.key
    # Counted first: whoever asks while this one is being stored finds it counted.
    site.gate.opened(key, model, wishes.urgency, deadline_at_ms=wishes.deadline_at_ms)
    site.limiter.keep(key, ticket, deadline_at_ms=wishes.deadline_at_ms)
    # Tells the dispatchers that the task has paid here.
    mark = PASSED, passed_mark(site.sessions, subjects.submitted(wishes.urgency, key))
    watch = None
    try:
        asked = replace(capped(await task, wishes.bounds), key=ticket.key_id)
        watch = await submit(
            site.bus, key, asked, wishes.urgency, headers=(*headers, mark), may_exist=admitted.may_exist
        )
    finally:
        if watch is None:
            site.gate.dropped(key)
            site.limiter.drop(key, ticket)
    return watch
