"""One task on its way through a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.simulation.device import Order
from gateway.simulation.tally import Outcome, cost_of

if TYPE_CHECKING:
    from gateway.scheduling.wish import Wish
    from gateway.simulation.device import Device, Job
    from gateway.simulation.trace import Turn


class Asked:
    """Changed in place; ``attempts`` tells an attempt from those before it, so that late news of these are void."""

    def __init__(self, turn: Turn, later: tuple[Turn, ...], asked_s: float) -> None:
        """``later`` are the turns that follow in its conversation."""
        self.turn = turn
        self.key = turn.key
        self.later = later
        self.asked_s = asked_s
        self.attempts = 0
        self.written = 0
        self.avoid: frozenset[str] = frozenset()
        self.device: Device | None = None
        self.model = ""
        self.job: Job | None = None
        self.first_token_s: float | None = None
        self.cost = 0.0
        self.is_waiting = False
        self.given_s = 0.0
        self.expected_s: float | None = None
        """When the first token was expected, from when it was given."""
        self.is_hedged = False
        self.second: Device | None = None
        self.second_job: Job | None = None

    def wish(self, now_s: float) -> Wish:
        """What is asked of the scheduler now."""
        wish = self.turn.wish
        if not self.attempts and now_s == self.asked_s:
            return wish
        left_s = None if wish.left_s is None else wish.left_s - (now_s - self.asked_s)
        return replace(wish, avoid=self.avoid, has_text=self.written > 0, left_s=left_s)

    def order(self, breaks_at: float | None, stalls_s: float = 0.0) -> Order:
        """What the device of this attempt is given: the rest of the answer, after all that is there already."""
        return Order(
            key=self.key,
            attempt=self.attempts,
            model=self.model,
            prefix=self.turn.wish.prefix,
            prompt_tokens=self.turn.prompt_tokens + self.written,
            answer_tokens=max(self.turn.answer_tokens - self.written, 1),
            breaks_at=breaks_at,
            stalls_s=stalls_s,
        )

    def settle(self, written: int) -> None:
        """The attempt has come to its end, and has written so much."""
        if self.job is None or self.device is None:
            return
        read = self.job.order.prompt_tokens - self.job.cached_tokens
        price = self.device.replicas[self.model].price
        self.cost += cost_of(price, read=read, cached=self.job.cached_tokens, written=written)
        self.written += written

    def outcome(self, now_s: float, *, is_completed: bool) -> Outcome:
        """How it ended."""
        job = self.job
        return Outcome(
            key=self.key,
            is_completed=is_completed,
            first_token_s=self.first_token_s,
            finish_s=now_s - self.asked_s,
            attempts=self.attempts,
            prompt_tokens=self.turn.prompt_tokens if job is None else job.order.prompt_tokens,
            cached_tokens=0 if job is None else job.cached_tokens,
            is_at_edge=self.device is not None and self.device.replicas[self.model].tier != "cloud",
            cost=self.cost,
        )
