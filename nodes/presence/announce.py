"""Telling the registry what this node serves, until it says yes; and again whenever it may have forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from mesh.errors import BusError, BusUnavailable
from nodes.errors import NodeIdTaken
from nodes.pauses import pause_s
from streams import subjects
from streams.codec import decode, encode
from streams.errors import UndecodableEvent
from streams.messages import Announce, Announced

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener
    from streams.devices.replica import Replica
    from streams.tokens import Token

log = logging.getLogger(__name__)

_TIMEOUT: Final = timedelta(seconds=2)
LEAVE: Final = timedelta(seconds=3)
"""How long a node that stops looks for a registry that hears it."""
SOFTWARE: Final = f"ig3-edge-network/{version('ig3-edge-network')}"


class Announcer:
    """Keeps one node announced."""

    def __init__(self, link: Link, node: Token, replicas: tuple[Replica, ...], *, process: str = "") -> None:
        """Announce ``replicas`` as ``node``; ``run`` does it. ``process`` tells this process from others of the id."""
        self._process = process
        self._link = link
        self._node = node
        self._replicas = replicas
        self._due = asyncio.Event()
        self._accepted = asyncio.Event()
        self._listener: Listener | None = None

    def announce(self, replicas: tuple[Replica, ...]) -> None:
        """Announce this instead from now on, soon."""
        self._replicas = replicas
        self._due.set()

    async def listen(self) -> None:
        """Begin to hear a registry that asks for an announcement."""
        self._listener = await self._link.listen(subjects.node_inbox(self._node, "registry"), self._on_registry)

    async def accepted(self) -> None:
        """Wait for the first announcement that the registry accepts."""
        await self._accepted.wait()

    async def run(self) -> None:
        """Announce now, after each reconnect, and whenever a registry asks. Never returns.

        Raises:
            BusUnavailable: when the connection is closed for good.
            NodeIdTaken: if another process serves under this node's id.
        """
        tries = 0
        # Another connection: the registry may have counted us as lost meanwhile. A closed one ends this in the request.
        forget = self._link.on_return(self._due.set)
        try:
            while True:
                self._due.clear()
                refusal = await self._try(self._replicas)
                if refusal is None:
                    tries = 0
                    self._accepted.set()
                    await self._due.wait()
                else:
                    tries += 1
                    _log_refusal(tries, refusal)
                    await asyncio.sleep(pause_s(tries))
        finally:
            forget()

    async def withdraw(self, limit: timedelta = LEAVE) -> None:
        """Say that this node serves nothing from now on, until a registry has heard it or ``limit`` is over.

        A dispatcher that stops at the same moment takes its registry with it: the next one shall know.
        """
        if not self._accepted.is_set():
            return
        tries = 0
        with contextlib.suppress(TimeoutError, BusUnavailable):
            async with asyncio.timeout(limit.total_seconds()):
                while await self._try(()) is not None:
                    tries += 1
                    await asyncio.sleep(pause_s(tries))

    def _on_registry(self, _: Delivery) -> None:
        self._due.set()

    async def _try(self, replicas: tuple[Replica, ...]) -> str | None:
        """Announce once; returns why it was in vain."""
        try:
            answer = await self._announce(replicas)
        except BusUnavailable:
            raise
        except (BusError, UndecodableEvent) as error:
            return str(error)
        if answer.taken:
            raise NodeIdTaken(f"{answer.reason}: stop it, or give this node another --id or --instance")
        for refusal in answer.refused:
            log.warning("the registry does not take a model of this node: %s", refusal)
        return None if answer.accepted else f"the registry refused: {answer.reason}"

    async def _announce(self, replicas: tuple[Replica, ...]) -> Announced:
        words = encode(Announce(software=SOFTWARE, replicas=replicas, process=self._process))
        answer = await self._link.request(subjects.node_api(self._node, "announce"), words, timeout=_TIMEOUT)
        return decode(answer.data, Announced)


def _log_refusal(tries: int, refusal: str) -> None:
    """Log the first refusal and then ever more rarely: a mesh without a registry must not fill the log."""
    level = logging.WARNING if tries.bit_count() == 1 else logging.DEBUG
    log.log(level, "not announced yet (tried %d times): %s", tries, refusal)
