"""Questions about tasks that the gateway puts to the mesh for its clients."""

from __future__ import annotations

import contextlib
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.http.errors import from_refusal, unavailable
from mesh.errors import NoResponders, RequestTimedOut
from streams import subjects
from streams.codec import encode
from streams.messages import Cancel, CancelOutcome, Refusal

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.service_bus import Bus
    from streams.subjects import TaskKey

log = logging.getLogger(__name__)

_TRIES: Final = 4
TIMEOUT: Final = timedelta(seconds=5)
"""Of each try."""

_read_reply: Final = msgspec.msgpack.Decoder(CancelOutcome | Refusal).decode


async def cancel(bus: Bus, key: TaskKey, reason: str) -> CancelOutcome:
    """Ask for a task to be cancelled; returns how it ended.

    Raises:
        ApiError: if the mesh refuses, or no dispatcher is there.
        BusError: if there is no answer in time.
    """
    # In CORE, where only services are: in EDGE a dispatcher answers only under an account's own inbox.
    try:
        answer = await _ask(bus, subjects.user_api(key.account, "cancel"), encode(Cancel(task=key.task, reason=reason)))
    except NoResponders as error:
        raise unavailable("No dispatcher is there to cancel the task.") from error
    reply = _read_reply(answer.data)
    if isinstance(reply, Refusal):
        raise from_refusal(reply)
    return reply


async def _ask(bus: Bus, subject: str, request: bytes) -> Delivery:
    """Ask until there is an answer: who is slow has perhaps done it, and says the same when asked again."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(RequestTimedOut):
            return await bus.core.request(subject, request, timeout=TIMEOUT)
    return await bus.core.request(subject, request, timeout=TIMEOUT)


async def cancel_quietly(bus: Bus, key: TaskKey, reason: str) -> None:
    """Cancel a task that nobody waits for any more: what goes wrong is of interest to the log alone."""
    try:
        await cancel(bus, key, reason)
    except Exception as error:
        log.warning("task %s could not be cancelled: %s", key.task, error)
