"""One request's way through the limits: it pays before anything is stored; the end of its task settles the price."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from gateway.errors import GatewayError
from gateway.limits.bucket import given_back
from gateway.limits.meter import Cost
from streams.events import TaskCompleted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.limits.meter import Meter, Shortage
    from streams.events import EndEvent

_PLACE_LOOK_S: Final = 0.2
_PLACE_LOOKS: Final = 4
"""Together longer than another gateway keeps a place for a stream that nobody opens: it lays it down when it next looks
(``gateway.limits.limiter.TEND_S``) after ``gateway.limits.meter.IDLE_MS``, half a second at the latest."""
_WHAT: Final = {
    "requests": "requests per minute",
    "tokens": "tokens per minute",
    "streams": "concurrent streams",
    "reads": "reads per minute",
    "websockets": "open websockets",
}


class LimitReached(GatewayError):
    """An account or a key has had what it may have for now; nothing was stored."""

    def __init__(self, shortage: Shortage) -> None:
        """Say what was short, and when to come back."""
        super().__init__(_message(shortage))
        self.shortage = shortage

    @property
    def retry_after_s(self) -> int | None:
        """When to come back, in whole seconds; None: never with this request."""
        wait_ms = self.shortage.wait_ms
        return None if wait_ms is None else max(1, math.ceil(wait_ms / 1000))


class Price(NamedTuple):
    """What a request may use, before anybody has counted."""

    prompt: int = 0
    answer: int = 0

    @property
    def tokens(self) -> int:
        """Both together."""
        return self.prompt + self.answer


_FREE: Final = Price()


class Ticket:
    """Inside a ``with`` block: what was paid for nothing goes back at its end."""

    __slots__ = ("_clock", "_has_stream", "_is_kept", "_meters", "_paid_at_ms", "_price", "has_paid", "key_id")

    def __init__(self, meters: Sequence[Meter], clock: Callable[[], int], key_id: str | None = None) -> None:
        """Pay at ``meters``; none of them: everything is allowed. ``key_id`` is the API key that asks, if one does."""
        self._meters = meters
        self._clock = clock
        self._price = _FREE
        self._paid_at_ms = 0
        self._has_stream = False
        self._is_kept = False
        self.has_paid = False
        self.key_id = key_id

    @property
    def has_meters(self) -> bool:
        """Whether anything is limited for whoever pays with it."""
        return bool(self._meters)

    async def pay(self, price: Callable[[], Price], *, stream: bool) -> None:
        """Pay for a request, whose price is asked for only if it matters; once, however often this is called.

        Raises:
            LimitReached: if it cannot be paid; then nothing is.
        """
        if not self._meters or self.has_paid:
            return
        cost = price() if any(meter.counts_tokens for meter in self._meters) else _FREE
        await _pay(self._meters, Cost(1, cost.tokens, int(stream and not self._has_stream)))
        self.has_paid = True
        self._has_stream = self._has_stream or stream
        self._price = cost
        self._paid_at_ms = self._clock()

    def inherit(self, price: Price, paid_at_ms: int) -> None:
        """Settle at the end what somebody else has paid; without an end nothing goes back."""
        self._price = price
        self._paid_at_ms = min(paid_at_ms, self._clock())

    async def open_stream(self) -> None:
        """Pay for nothing but a stream: what it carries was paid for before.

        Raises:
            LimitReached: if too many are open.
        """
        if self._meters and not self._has_stream:
            await _pay(self._meters, Cost(streams=1))
            self._has_stream = True

    def close_stream(self) -> None:
        """The stream is over; twice is fine."""
        if self._has_stream:
            self._has_stream = False
            for meter in self._meters:
                meter.close_stream()

    def keep(self) -> None:
        """The task is stored: what it used is settled at its end."""
        self._is_kept = True

    def drop(self) -> None:
        """The task was not stored after all."""
        self._is_kept = False

    def settle_end(self, end: EndEvent) -> None:
        """The task has ended: what it did not use goes back, what it used beyond is charged."""
        if isinstance(end, TaskCompleted):
            self._settle(end.usage.total_tokens)
            return
        # Tokens of texts that became vectors are those of the prompt.
        written = sum(share.tokens for share in end.shares) if self._price.answer else 0
        self._settle(self._price.prompt + written if end.shares else 0)

    def finish(self, end: EndEvent) -> None:
        """The task has ended, before anybody has heard of it: settle it, and free the stream's place."""
        self.keep()
        self.settle_end(end)
        self.close_stream()

    def _settle(self, used: int) -> None:
        unused, self._price = self._price.tokens - used, Price(prompt=used)
        by = -given_back(unused, self._clock() - self._paid_at_ms) if unused > 0 else -unused
        for meter in self._meters:
            meter.settle_tokens(by)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the stream; what no task was stored for costs no tokens. That it was a request stands."""
        self.close_stream()
        if self.has_paid and not self._is_kept:
            self._settle(0)


async def _pay(meters: Sequence[Meter], cost: Cost) -> None:
    """Spend the same at all meters, or at none.

    Raises:
        LimitReached: if one of them has not enough.
    """
    looked = 0
    while lacking := next((meter for meter in meters if not meter.covers(cost)), None):
        shortage = lacking.shortage(cost)
        if shortage is None:
            await lacking.refill(cost)
        elif shortage.kind == "streams" and lacking.others_hold_streams and looked < _PLACE_LOOKS:
            # Another gateway may hold a place that it does not need.
            looked += 1
            await asyncio.sleep(_PLACE_LOOK_S)
            lacking.look_again()
        else:
            raise LimitReached(shortage)
    for meter in meters:
        meter.spend(cost)


def _message(shortage: Shortage) -> str:
    what, owner = _WHAT[shortage.kind], shortage.owner
    standing = f"limit {shortage.limit}, remaining {shortage.remaining}, requested {shortage.requested}"
    if shortage.wait_ms is None:
        return (
            f"Request too large for {owner.scope} {owner.name} on {what}: {standing}. Make it smaller to have it run."
        )
    wait = f"{shortage.wait_ms} ms" if shortage.wait_ms < 1000 else f"{math.ceil(shortage.wait_ms / 1000)} s"
    return f"Rate limit reached for {owner.scope} {owner.name} on {what}: {standing}. Try again in {wait}."
