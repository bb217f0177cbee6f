"""Questions about tasks that the gateway puts to the mesh for its clients."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.http.errors import from_refusal, unavailable
from mesh.errors import NoResponders
from streams import subjects
from streams.codec import encode
from streams.messages import Cancel, CancelOutcome, Refusal

if TYPE_CHECKING:
    from mesh.bus.service_bus import Bus
    from streams.subjects import TaskKey

log = logging.getLogger(__name__)

_read_reply: Final = msgspec.msgpack.Decoder(CancelOutcome | Refusal).decode


async def cancel(bus: Bus, key: TaskKey, reason: str) -> CancelOutcome:
    """Ask for a task to be cancelled; returns how it ended.

    Raises:
        ApiError: if the mesh refuses, or no dispatcher is there.
        BusError: if there is no answer in time.
    """
    # In CORE, where only services are: in EDGE a dispatcher answers only under an account's own inbox.
    try:
        request = encode(Cancel(task=key.task, reason=reason))
        answer = await bus.core.request(subjects.user_api(key.account, "cancel"), request)
    except NoResponders as error:
        raise unavailable("No dispatcher is there to cancel the task.") from error
    reply = _read_reply(answer.data)
    if isinstance(reply, Refusal):
        raise from_refusal(reply)
    return reply


async def cancel_quietly(bus: Bus, key: TaskKey, reason: str) -> None:
    """Cancel a task that nobody waits for any more: what goes wrong is of interest to the log alone."""
    try:
        await cancel(bus, key, reason)
    except Exception as error:
        log.warning("task %s could not be cancelled: %s", key.task, error)
