"""Hearing from the broker itself that a connection has ended: sooner than silence would tell."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

import msgspec
from msgspec import Struct

from mesh.bus.link import Link
from streams.subjects import node_of_connection

if TYPE_CHECKING:
    from mesh.bus.dialing import LinkOptions
    from mesh.bus.direct_client import Delivery
    from streams.tokens import Token

log = logging.getLogger(__name__)

_DISCONNECTED: Final = "$SYS.ACCOUNT.EDGE.DISCONNECT"


class _Client(Struct, frozen=True):
    name: str = ""


class _Disconnected(Struct, frozen=True):
    client: _Client = _Client()


_event: Final = msgspec.json.Decoder(_Disconnected)

OnDeparture = Callable[["Token"], None]


class Departures:
    """Calls ``on_departure`` with each node whose connection ends. A hint: clients name themselves."""

    def __init__(self, link: Link) -> None:
        """Wrap a connection to the system account; ``connect`` does this."""
        self._link = link
        self.on_departure: OnDeparture | None = None

    @classmethod
    async def connect(cls, options: LinkOptions) -> Self:
        """Connect to the system account and listen.

        Raises:
            BusUnavailable: if the broker cannot be reached or refuses the credential.
        """
        departures = cls(await Link.connect(options))
        await departures._link.listen(_DISCONNECTED, departures._hear)
        return departures

    async def close(self) -> None:
        """Listen no more."""
        await self._link.close()

    async def __aenter__(self) -> Self:
        """Use as a context manager."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self.close()

    def _hear(self, delivery: Delivery) -> None:
        try:
            event = _event.decode(delivery.data)
        except msgspec.DecodeError as error:
            log.warning("the broker's word of a disconnection cannot be read: %s", error)
            return
        node = node_of_connection(event.client.name)
        if node is not None and self.on_departure is not None:
            self.on_departure(node)
