"""Everybody who is told the same thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.bridge.wire import Encoded

if TYPE_CHECKING:
    from gateway.bridge.frames import FromGateway
    from gateway.bridge.outbox import Outbox


class Audience:
    """The outboxes of one topic's subscribers: a frame is encoded once in each format, however many there are."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._members: set[Outbox] = set()

    def __bool__(self) -> bool:
        return bool(self._members)

    def add(self, outbox: Outbox) -> None:
        """Tell this one as well from now on."""
        self._members.add(outbox)

    def remove(self, outbox: Outbox) -> None:
        """Tell this one no more; no error if it was not told."""
        self._members.discard(outbox)

    def tell(self, frame: FromGateway) -> None:
        """Offer a frame to all."""
        encoded = Encoded(frame)
        for member in self._members:
            member.offer(encoded)
