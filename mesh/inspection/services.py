"""Asking every running service at once what its projections have come to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mesh.bus.headers import NO_RESPONDERS, status_code
from streams import subjects
from streams.codec import decode, encode
from streams.messages import ProjectionRequest, Projections

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link

_QUIET_S: Final = 0.7
"""How long nobody may answer before all are taken to have answered."""
_LONGEST_S: Final = 10.0


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
            while True:
                delivery = await asyncio.wait_for(answers.get(), _QUIET_S)
                if status_code(delivery.headers) == NO_RESPONDERS:
                    return []
                found.append(decode(delivery.data, Projections))
    except TimeoutError:
        return found
    finally:
        await listener.close()
