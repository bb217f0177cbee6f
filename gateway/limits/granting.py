"""What one gateway may take of somebody's limits, out of what all gateways share: a pure function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from gateway.limits.bucket import FULL, Draw, draw, heavier
from gateway.limits.slots import hold
from streams.messages import LimitState

if TYPE_CHECKING:
    from streams.access.limits import Limits, RateState, StreamHolder

NOTHING_TAKEN: Final = LimitState()
_NOTHING: Final = Draw()


class Wanted(NamedTuple):
    """What a gateway asks for at once."""

    holder: StreamHolder
    """Itself, with the streams that are open there."""
    requests: Draw = _NOTHING
    tokens: Draw = _NOTHING
    streams: int = 0
    """How many it would like to hold, the open ones among them."""


class Granted(NamedTuple):
    """What it got, and what stands in the store then."""

    state: LimitState
    requests: int
    tokens: int
    streams: int
    others: int
    """Streams that other gateways hold."""


def grant(limits: Limits, state: LimitState, now_ms: int, wanted: Wanted) -> Granted:
    """Take what is wanted, as far as it is there; each kind for itself."""
    requests, taken = _drawn(limits.requests_per_minute, state.requests, now_ms, wanted.requests)
    tokens, taken_tokens = _drawn(limits.tokens_per_minute, state.tokens, now_ms, wanted.tokens)
    holders, held, others = state.holders, 0, 0
    if limits.concurrent_streams is not None:
        holders, held, others = hold(
            limits.concurrent_streams, state.holders, now_ms, wanted.holder, most=wanted.streams
        )
    after = replace(state, requests=requests, tokens=tokens, holders=holders)
    return Granted(after, taken, taken_tokens, held, others)


def merged(limits: Limits, shared: LimitState, alone: LimitState, now_ms: int) -> LimitState:
    """What is taken, for a gateway that has gone on alone for a while: whatever is more."""
    return replace(
        shared,
        requests=_heavier(limits.requests_per_minute, shared.requests, alone.requests, now_ms),
        tokens=_heavier(limits.tokens_per_minute, shared.tokens, alone.tokens, now_ms),
    )


def _drawn(limit: int | None, state: RateState, now_ms: int, want: Draw) -> tuple[RateState, int]:
    if limit is None:
        return FULL, 0
    drawn = draw(limit, state, now_ms, want)
    return drawn.state, drawn.taken


def _heavier(limit: int | None, one: RateState, other: RateState, now_ms: int) -> RateState:
    return one if limit is None else heavier(limit, one, other, now_ms)
