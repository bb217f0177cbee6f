"""Everybody who is told the same thing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.bridge.wire import Encoded

if TYPE_CHECKING:
    from gateway.bridge.frames import FromGateway


class Ear(Protocol):
    """Who is told."""

    def offer(self, frame: Encoded) -> None:
        """Take a frame, without making the teller wait."""
        ...


class Audience:
    """The subscribers of one topic: a frame is encoded once in each format, however many there are."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._members: set[Ear] = set()

    def __bool__(self) -> bool:
        return bool(self._members)

    def add(self, ear: Ear) -> None:
        """Tell this one as well from now on."""
        self._members.add(ear)

    def remove(self, ear: Ear) -> None:
        """Tell this one no more; no error if it was not told."""
        self._members.discard(ear)

    def tell(self, frame: FromGateway) -> None:
        """Offer a frame to all."""
        encoded = Encoded(frame)
        for member in self._members:
            member.offer(encoded)
