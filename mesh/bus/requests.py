"""Requests in flight on one connection: who waits for which answer, and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.bus.headers import status_code

if TYPE_CHECKING:
    import asyncio

    from mesh.bus.direct_client import Delivery
    from mesh.bus.doubt import Doubt
    from mesh.errors import BusError


class Waiting:
    """One request in flight; ``parts`` gathers the replies of a request that has several."""

    __slots__ = ("asked", "doubt", "due", "future", "parts")

    def __init__(
        self,
        future: asyncio.Future[Delivery],
        asked: float,
        timeout_s: float,
        doubt: Doubt | None,
        parts: list[Delivery] | None,
    ) -> None:
        """Wait with ``future`` from ``asked``, by the loop's clock; ``doubt`` is told of silence."""
        self.future = future
        self.asked = asked
        self.due = asked + timeout_s
        self.doubt = doubt
        self.parts = parts

    def take(self, delivery: Delivery) -> None:
        """Give it an answer; where several are expected, one with a status closes them."""
        if self.future.done():
            return
        if self.parts is None or status_code(delivery.headers) is not None:
            self.future.set_result(delivery)
        else:
            self.parts.append(delivery)

    def put_off(self, seconds: float) -> None:
        """Leave that time out of how long it has waited."""
        self.asked += seconds
        self.due += seconds

    def fail(self, error: BusError) -> None:
        """Wait no more."""
        if not self.future.done():
            self.future.set_exception(error)
