"""Telling the registry what this node serves, until it says yes; and again whenever it may have forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from mesh.errors import BusError
from nodes.chunk_writer import connection_number
from nodes.pauses import pause_s
from streams import subjects
from streams.codec import decode, encode
from streams.errors import UndecodableEvent
from streams.messages import Announce, Announced

if TYPE_CHECKING:
    from mesh.direct_client import Delivery
    from mesh.link import Link, Listener
    from streams.replica import Replica
    from streams.tokens import Token

log = logging.getLogger(__name__)

_TIMEOUT: Final = timedelta(seconds=2)
_LOOK_S: Final = 0.5
SOFTWARE: Final = f"ig3-edge-network/{version('ig3-edge-network')}"


class Announcer:
    """Keeps one node announced."""

    def __init__(self, link: Link, node: Token, replicas: tuple[Replica, ...]) -> None:
        """Announce ``replicas`` as ``node``; ``run`` does it."""
        self._link = link
        self._node = node
        self._replicas = replicas
        self._due = asyncio.Event()
        self._accepted = asyncio.Event()
        self._listener: Listener | None = None

    async def listen(self) -> None:
        """Begin to hear a registry that asks for an announcement."""
        self._listener = await self._link.listen(subjects.node_inbox(self._node, "registry"), self._on_registry)

    async def accepted(self) -> None:
        """Wait for the first announcement that the registry accepts."""
        await self._accepted.wait()

    async def run(self) -> None:
        """Announce now, after each reconnect, and whenever a registry asks. Never returns."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._watch_connection())
            both.create_task(self._announce_when_due())

    async def withdraw(self) -> None:
        """Say that this node serves nothing from now on; once, since the registry finds out anyway."""
        with contextlib.suppress(BusError, UndecodableEvent):
            await self._announce(())

    def _on_registry(self, _: Delivery) -> None:
        self._due.set()

    async def _watch_connection(self) -> None:
        known: int | None = None
        while True:
            if (current := connection_number(self._link)) != known:
                known = current
                self._due.set()
            await asyncio.sleep(_LOOK_S)

    async def _announce_when_due(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            await self._announce_until_accepted()
            self._accepted.set()

    async def _announce_until_accepted(self) -> None:
        tries = 0
        while True:
            refusal = await self._try()
            if refusal is None:
                return
            tries += 1
            # The first time and then ever more rarely, so that a mesh without a registry does not fill the log.
            level = logging.WARNING if tries.bit_count() == 1 else logging.DEBUG
            log.log(level, "not announced yet (%d times tried): %s", tries, refusal)
            await asyncio.sleep(pause_s(tries))

    async def _try(self) -> str | None:
        """Announce once; returns why it was in vain."""
        try:
            answer = await self._announce(self._replicas)
        except (BusError, UndecodableEvent) as error:
            return str(error)
        return None if answer.accepted else f"the registry refused: {answer.reason}"

    async def _announce(self, replicas: tuple[Replica, ...]) -> Announced:
        words = encode(Announce(software=SOFTWARE, replicas=replicas))
        answer = await self._link.request(subjects.node_api(self._node, "announce"), words, timeout=_TIMEOUT)
        return decode(answer.data, Announced)
