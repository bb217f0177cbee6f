"""Telling what this process has made of the log: for `ig3 events verify`, which makes it anew and compares.

An answer is taken in one go, between two events, so that digests and positions belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from streams import subjects
from streams.codec import encode
from streams.digest import digest_of
from streams.messages import FoldDigest, Projections

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener
    from mesh.history.checkpoint import Projection

Pages = Callable[[], Iterable[Projections]]
"""What a service answers, in as many messages as it takes; must not wait."""


class ProjectionDesk:
    """Answers for one process."""

    def __init__(self, core: Link, pages: Pages) -> None:
        """Prepare; ``pages`` is called at each request."""
        self._core = core
        self._pages = pages
        self._listener: Listener | None = None

    async def start(self) -> None:
        """Begin to answer; start what feeds the projections first."""
        self._listener = await self._core.listen(subjects.PROJECTIONS, self._on_request)

    async def stop(self) -> None:
        """Answer no more."""
        if self._listener is not None:
            await self._listener.close()

    def _on_request(self, delivery: Delivery) -> None:
        if delivery.reply:
            for page in self._pages():
                self._core.send(delivery.reply, encode(page))


def fold_digest(projection: Projection, sequence: int) -> FoldDigest:
    """Return what a projection has come to at the sequence up to which it was fed."""
    return FoldDigest(projection=projection.name, sequence=sequence, state=digest_of(projection.dump()))
