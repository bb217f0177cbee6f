"""Whether the mesh has room for new tasks, as the keepers of its brokers say, and how they say it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from streams import subjects
from streams.clock import now_ms
from streams.codec import decode, encode
from streams.errors import UndecodableEvent
from streams.messages import StoreStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link
    from streams.tokens import Token

log = logging.getLogger(__name__)

TELL_EVERY: Final = timedelta(seconds=2)
_LOOK_S: Final = 0.1
_BELIEVED_FOR: Final = 3.0
"""Intervals after which a status counts no more: whoever said it may be gone."""


class StoreFeed:
    """The latest word of every broker. Without any, tasks are taken: the append itself will tell."""

    def __init__(self, core: Link) -> None:
        """Hear through ``core``."""
        self._core = core
        self._heard: dict[str, tuple[StoreStatus, float]] = {}

    async def start(self) -> None:
        """Begin to hear."""
        await self._core.listen(subjects.STORE_ALL, self._on_status)

    @property
    def shortage(self) -> str | None:
        """Why no broker takes new tasks, or None: one with room is enough."""
        now_s = asyncio.get_running_loop().time()
        fresh = [status for status, until_s in self._heard.values() if now_s < until_s]
        return fresh[0].reason if fresh and not any(status.takes_tasks for status in fresh) else None

    def _on_status(self, delivery: Delivery) -> None:
        with suppress(UndecodableEvent):
            status = decode(delivery.data, StoreStatus)
            until_s = asyncio.get_running_loop().time() + status.interval_s * _BELIEVED_FOR
            self._heard[delivery.subject] = (status, until_s)


async def tell_store(core: Link, server: Token, shortage: Callable[[], str | None]) -> None:
    """Say whether a broker has room, each interval and as soon as it changes, until cancelled."""
    loop = asyncio.get_running_loop()
    said, next_at_s = None, 0.0
    while True:
        reason = shortage()
        if reason != said or loop.time() >= next_at_s:
            said, next_at_s = reason, loop.time() + TELL_EVERY.total_seconds()
            status = StoreStatus(
                at_ms=now_ms(),
                interval_s=TELL_EVERY.total_seconds(),
                takes_tasks=reason is None,
                reason=reason or "",
            )
            core.send(subjects.store(server), encode(status))
        await asyncio.sleep(_LOOK_S)
