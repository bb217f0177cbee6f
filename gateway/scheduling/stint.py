"""What a node's work on one task was like, and what that says of the node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from gateway.scheduling.seat import Seat
    from streams.tasks.chat import Usage

TELLING_TOKENS: Final = 8
"""Of a shorter answer, what it took says more of the way than of the engine."""

SHORTEST_S: Final = 0.0001


class Order(NamedTuple):
    """A task that a node has been sent."""

    seat: Seat
    at_s: float
    crowding: float
    """How much slower the replica was taken to be then than when it is empty."""
    is_acknowledged: bool = False


class Stint(NamedTuple):
    """An order, and how long it took until the node had done with it."""

    order: Order
    took_s: float

    def learn(self, usage: Usage) -> None:
        """The answer is whole and believed: measure the node by it."""
        seat = self.order.seat
        seat.breaker.close()
        if usage.completion_tokens < TELLING_TOKENS:
            return
        read = usage.prompt_tokens - usage.cached_prompt_tokens
        expected_s = (read * seat.prompt_s + usage.completion_tokens * seat.token_s) * self.order.crowding
        if expected_s > 0:
            seat.measure(took_s=max(self.took_s - seat.rtt_s, SHORTEST_S), expected_s=expected_s)
