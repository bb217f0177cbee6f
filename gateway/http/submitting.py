"""Putting a task on its stream, exactly once, whatever the bus does meanwhile."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.http.errors import ApiError, store_full, too_large, unavailable
from mesh.errors import PublishRefused, PublishUnknown, StoreFull, SubjectTaken
from streams import subjects
from streams.codec import encode

if TYPE_CHECKING:
    from mesh.bus.live import Watch
    from mesh.bus.service_bus import Bus
    from streams.events import TaskSubmitted
    from streams.subjects import ServiceClass, TaskKey

INPUT_LIMIT: Final = 512 * 1024
"""Bytes of a submission that fit in one message; larger inputs will travel by reference."""

_ROOM_FOR_HEADERS: Final = 1024
_TRIES: Final = 3
APPEND_TIMEOUT: Final = timedelta(seconds=5)

Headers = tuple[tuple[str, str], ...]


async def submit(
    bus: Bus, key: TaskKey, task: TaskSubmitted, service_class: ServiceClass, *, headers: Headers = (), may_exist: bool
) -> Watch | None:
    """Submit a task; with ``may_exist``, one that is on its stream already is taken as submitted.

    Returns a watch that has seen all that happens to it, or None if it was there before.

    Raises:
        ApiError: 413 if it is too large for the bus, 503 if it cannot be stored now.
    """
    data = encode(task)
    limit = min(INPUT_LIMIT, bus.edge.max_payload - _ROOM_FOR_HEADERS)
    if len(data) > limit:
        raise too_large(limit)
    watch = bus.feed.watch(key)
    try:
        await _append(bus, subjects.submitted(service_class, key), data, headers)
    except SubjectTaken:
        if may_exist:
            watch.close()
            return None
        # Ours, from a try whose acknowledgement was lost: nobody else can have had this id.
    except BaseException:
        watch.close()
        raise
    return watch


async def _append(bus: Bus, subject: str, data: bytes, headers: Headers) -> None:
    # A lost acknowledgement is a question: the subject takes one message only, so asking again is safe.
    for _ in range(_TRIES):
        try:
            await bus.edge.append(subject, data, headers=headers, timeout=APPEND_TIMEOUT)
        except StoreFull as error:
            raise store_full(str(error)) from error
        except PublishUnknown:
            # Where the disk is full no broker answers, and it may be known by now.
            if (shortage := bus.stores.shortage) is not None:
                raise store_full(f"{shortage}; send the task again with the same x-ig3-task") from None
            continue
        except SubjectTaken:
            raise
        except PublishRefused as error:
            raise unavailable(f"The mesh cannot store the task now: {error}") from error
        return
    message = "It is not known whether the mesh has the task: send it again with the same x-ig3-task."
    raise ApiError(503, message, code="mesh_unavailable", headers={"Retry-After": "1"})
