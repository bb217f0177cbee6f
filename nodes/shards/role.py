"""What a node does for shard groups, by its settings: lend, lead, both or nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from nodes.engines.host import available_bytes, compute_threads
from nodes.errors import EngineError
from nodes.shards.leading import Leading, Led
from nodes.shards.membership import Lent, Membership

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.link import Link
    from nodes.attempts.worker import Worker
    from nodes.engine import EngineSpec
    from nodes.models.serving import Serving
    from nodes.shards.link_self import LinkSelf
    from nodes.shards.settings import ShardSettings
    from streams.tokens import Token


log = logging.getLogger(__name__)


class ShardSite(NamedTuple):
    """The node around it."""

    link: Link
    node: Token
    link_self: Callable[[], LinkSelf]
    worker: Worker
    serving: Serving


class ShardRole:
    """The part of one node, from its start to its end."""

    def __init__(self, site: ShardSite, settings: ShardSettings) -> None:
        """Prepare."""
        self._site = site
        self._settings = settings
        self._member: Membership | None = None
        self._leading: asyncio.Task[None] | None = None

    @property
    def lends_bytes(self) -> int:
        """Memory that a group may have of this node now."""
        return 0 if self._member is None else self._member.lends_bytes

    async def start(self, spec_of: Callable[[str, str | None], EngineSpec], on_change: Callable[[], None]) -> None:
        """Begin to lend and to lead, as the settings say.

        Args:
            spec_of: says how a model is run, by the node's settings.
            on_change: hears whenever ``lends_bytes`` changes.
        """
        settings, site = self._settings, self._site
        if settings.listen is None and settings.shard_model is None:
            return
        own = site.link_self()
        memory_bytes = _given(settings.shard_memory)
        if settings.listen is not None:
            lent = Lent(settings.listen, memory_bytes, compute_threads(spec_of("", None).threads))
            self._member = Membership(site.link, site.node, lent, own, on_change)
            await self._member.listen()
            on_change()
        if settings.shard_model is not None:
            spec = spec_of(settings.shard_model, settings.shard_model_id)
            led = Led(replace(spec, engine="llama-cpp-python", slots=None), memory_bytes)
            self._leading = asyncio.create_task(self._lead(Leading(site.link, site.node, led, own, site.serving)))

    async def stop(self) -> None:
        """Leave every group."""
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)
        if self._member is not None:
            await self._member.leave()

    async def _lead(self, leading: Leading) -> None:
        try:
            await leading.run()
        except EngineError as error:
            self._site.worker.break_down(str(error))
        except Exception as error:
            # A node that was started to lead must not go on as if it did.
            log.exception("leading has failed")
            self._site.worker.break_down(f"leading a shard group has failed: {error}")


def _given(wanted: int | None) -> int:
    return wanted if wanted is not None else (available_bytes() or 0) // 2
