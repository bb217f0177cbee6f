"""Asking a node for one token of a model that it has just announced: what it cannot do is not placed there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mesh.errors import BusError, NoResponders
from streams import subjects
from streams.codec import decode, encode
from streams.devices.probe import Probe, Probed
from streams.errors import UndecodableEvent

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from streams.devices.replica import Replica
    from streams.tokens import Token

_PATIENCE: Final = timedelta(seconds=30)
"""One token of a prompt of a few words takes the slowest device not so long."""


class Probing:
    """Probes of this process. A replica that is announced again while its probe runs is not asked twice."""

    def __init__(self, link: Link, patience: timedelta = _PATIENCE) -> None:
        """Ask by ``link``."""
        self._link = link
        self._patience = patience
        self._running: dict[tuple[Token, Replica], asyncio.Task[str | None]] = {}

    async def objection_to(self, node: Token, replica: Replica) -> str | None:
        """Say why the node cannot serve the replica, or None if it can."""
        if replica.kind != "chat":
            return None
        key = (node, replica)
        running = self._running.get(key)
        if running is None:
            running = asyncio.create_task(self._ask(node, replica.model), name=f"probe-{node}")
            self._running[key] = running
            running.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(running)

    def stop(self) -> None:
        """Ask no more."""
        for running in self._running.values():
            running.cancel()

    async def _ask(self, node: Token, model: str) -> str | None:
        subject = subjects.node_inbox(node, "probe")
        try:
            answer = await self._link.request(subject, encode(Probe(model=model)), timeout=self._patience)
            probed = decode(answer.data, Probed)
        except NoResponders:
            return "it does not listen for the question whether it can"
        except UndecodableEvent as error:
            return f"its answer to a small question cannot be read: {error}"
        except BusError:
            return f"it did not answer a small question within {self._patience.total_seconds():.0f} s"
        return None if probed.works else f"asked a small question, it says: {probed.reason or 'nothing'}"
