"""Asking every running service at once what its projections have come to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from mesh.bus.headers import NO_RESPONDERS, status_code
from mesh.errors import RequestTimedOut
from streams import subjects
from streams.codec import decode, encode
from streams.messages import ProjectionRequest, Projections

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link

_QUIET_S: Final = 0.7
"""How long nobody may answer before all are taken to have answered."""
_HITCH_S: Final = 0.25
"""Where that, and asking the broker then, takes so much longer, something stood still: it was not quiet."""
_LONGEST_S: Final = 30.0
_BROKER: Final = "$JS.API.INFO"


async def projections_of_services(core: Link) -> list[Projections]:
    """Return what every service that runs now says; the pages of one answer follow each other.

    Raises:
        UndecodableEvent: if a service of another version answers what this one cannot read.
    """
    answers: asyncio.Queue[Delivery] = asyncio.Queue()
    inbox = f"{core.inbox}.projections"
    listener = await core.listen(f"{inbox}.*", answers.put_nowait)
    found: list[Projections] = []
    try:
        core.send(subjects.PROJECTIONS, encode(ProjectionRequest()), reply=f"{inbox}.1")
        async with asyncio.timeout(_LONGEST_S):
            while (delivery := await _next(core, answers)) is not None:
                if status_code(delivery.headers) == NO_RESPONDERS:
                    return []
                found.append(decode(delivery.data, Projections))
    except TimeoutError:
        return found
    finally:
        await listener.close()
    return found


async def _next(core: Link, answers: asyncio.Queue[Delivery]) -> Delivery | None:
    """Wait for an answer; None where it was quiet, and the broker passes on at once what there is."""
    loop = asyncio.get_running_loop()
    while True:
        began_at = loop.time()
        try:
            async with asyncio.timeout(_QUIET_S):
                return await answers.get()
        except TimeoutError:
            with contextlib.suppress(RequestTimedOut):
                await core.request(_BROKER, b"")
        if answers.empty() and loop.time() - began_at < _QUIET_S + _HITCH_S:
            return None
