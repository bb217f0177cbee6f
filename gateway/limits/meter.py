"""The limits of one account or one key, as one gateway keeps them: what it has in hand, and asking for more.

What is in hand is spent without asking anybody. Where it does not do, the store is asked, by one question at a time for
all who wait. While the store is away this gateway goes on alone, from what it saw last: the limits hold within each
gateway then, and what it let pass is counted when the store is back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from gateway.limits.granting import NOTHING_TAKEN, Granted, Wanted, grant, merged
from gateway.limits.lease import Lease
from gateway.limits.store import NOTHING_STORED, StoreAway
from streams.access.limits import StreamHolder
from streams.codec import decode, encode
from streams.errors import UndecodableEvent
from streams.messages import LimitState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.limits.store import Owner, SharedLimits
    from streams.access.limits import Limits

Kind = Literal["requests", "tokens", "streams", "reads", "websockets"]
"""Each gateway counts ``reads`` (``gateway.limits.reads``) and ``websockets`` (``gateway.bridge.places``) by itself."""

HELD_MS: Final = 10_000
"""For how long a gateway's word about its open streams counts: so long a dead one's streams are not to be had."""
IDLE_MS: Final = 250
"""After so long a place for a stream that nobody opened again is free for other gateways."""

_RENEW_MS: Final = HELD_MS // 2
_ASK_EVERY_MS: Final = 1000
"""Who is over a limit is refused without asking for so long: what another gateway gives back may be seen that late."""
_AHEAD: Final = 16
"""Of how many streams one is held ahead."""


class Cost(NamedTuple):
    """What one request takes."""

    requests: int = 0
    tokens: int = 0
    streams: int = 0


class Shortage(NamedTuple):
    """Why a request cannot be let pass now."""

    owner: Owner
    kind: Kind
    limit: int
    remaining: int
    requested: int
    wait_ms: int | None
    """In how long it can be; None: never."""


class Standing(NamedTuple):
    """How it stands with one limit per minute."""

    limit: int
    remaining: int
    reset_ms: int


class Meter:
    """Spends and asks. ``covers`` and ``spend`` wait for nobody."""

    def __init__(
        self,
        owner: Owner,
        limits: Limits,
        shared: SharedLimits,
        holder: str,
        clock: Callable[[], int],
        *,
        on_use: Callable[[Meter], None],
    ) -> None:
        """Begin with nothing in hand.

        Args:
            owner: whose limits.
            limits: at least one of them is one.
            shared: where all gateways keep what is taken.
            holder: the name of this gateway, which no other has.
            clock: Unix milliseconds.
            on_use: called whenever it is at rest no longer.
        """
        self.owner = owner
        self.counts_tokens = limits.tokens_per_minute is not None
        self._limits = limits
        self._shared = shared
        self._holder = holder
        self._clock = clock
        self._on_use = on_use
        self._requests = _lease(limits.requests_per_minute)
        self._tokens = _lease(limits.tokens_per_minute)
        self._leases = [lease for lease in (self._requests, self._tokens) if lease is not None]
        self._streams = limits.concurrent_streams
        self._open = 0
        self._held = 0
        self._others = 0
        self._renew_at_ms = 0
        self._closed_at_ms = 0
        self._stored = NOTHING_STORED
        self._alone: LimitState | None = None
        self._waiting: list[Cost] = []
        self._asking: asyncio.Task[None] | None = None
        self._asked_at_ms = 0

    # --- spending --------------------------------------------------------------------------------------------------

    def covers(self, cost: Cost) -> bool:
        """Whether what is in hand is enough."""
        return (
            (self._requests is None or self._requests.left >= cost.requests)
            and (self._tokens is None or self._tokens.left >= cost.tokens)
            and (self._streams is None or self._held >= self._open + cost.streams)
        )

    def spend(self, cost: Cost) -> None:
        """Take it out of what is in hand, which covers it."""
        self._on_use(self)
        if self._requests is not None:
            self._requests.left -= cost.requests
        if self._tokens is not None:
            self._tokens.left -= cost.tokens
        if self._streams is not None:
            self._open += cost.streams

    def shortage(self, cost: Cost) -> Shortage | None:
        """Why there is not enough, as far as this gateway knows; None if the store is to be asked."""
        now_ms = self._clock()
        is_fresh = 0 <= now_ms - self._asked_at_ms < _ASK_EVERY_MS
        return (
            self._missing("requests", self._requests, cost.requests, now_ms, is_fresh=is_fresh)
            or self._missing("tokens", self._tokens, cost.tokens, now_ms, is_fresh=is_fresh)
            or self._streams_missing(cost, is_fresh=is_fresh)
        )

    @property
    def others_hold_streams(self) -> bool:
        """Whether other gateways hold places for streams, which they may not need."""
        return self._others > 0

    async def refill(self, cost: Cost) -> None:
        """Ask for what is missing; all who do so share one question."""
        self._on_use(self)
        self._waiting.append(cost)
        try:
            await asyncio.shield(self._ask_soon())
        finally:
            self._waiting.remove(cost)

    def look_again(self) -> None:
        """Believe no longer what was seen of the store."""
        self._asked_at_ms = 0

    # --- afterwards ------------------------------------------------------------------------------------------------

    def settle_tokens(self, by: int) -> None:
        """Charge tokens that were used beyond those that were taken; a negative number is given back."""
        if self._tokens is not None and by:
            self._on_use(self)
            self._tokens.settle(by)
            if by < 0:
                self.look_again()

    def close_stream(self) -> None:
        """One that was opened is closed."""
        if self._streams is not None:
            self._on_use(self)
            self._open -= 1
            self._closed_at_ms = self._clock()

    def standing(self, kind: Literal["requests", "tokens"]) -> Standing | None:
        """How it stands with a limit per minute, as far as this gateway knows; None without such a limit."""
        lease = self._requests if kind == "requests" else self._tokens
        if lease is None:
            return None
        now_ms = self._clock()
        return Standing(lease.limit, lease.remaining(now_ms), lease.reset_ms(now_ms))

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is in hand, nothing to be settled, and nobody asks."""
        is_asking = self._asking is not None and not self._asking.done()
        return not is_asking and self._held == 0 and all(lease.is_idle for lease in self._leases)

    def is_due(self) -> bool:
        """Lay down what is not used; returns whether the store has to be told of that, or of streams that go on."""
        now_ms = self._clock()
        # All of them lay down what they have, also behind one that has something to tell.
        told = [lease.lay_down(now_ms) for lease in self._leases]
        return any(told) or self._is_idle_place(now_ms) or (self._open > 0 and now_ms >= self._renew_at_ms)

    async def tell(self) -> None:
        """Tell the store what there is to tell."""
        await self._ask_soon()

    async def lay_down(self) -> None:
        """Give everything back, since this gateway stops."""
        for lease in self._leases:
            lease.lay_down(self._clock(), after_ms=0)
        self._open = 0
        if self._asking is not None:
            await self._asking
        await self.tell()

    # --- asking ----------------------------------------------------------------------------------------------------

    def _ask_soon(self) -> asyncio.Task[None]:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name=f"limits-{self.owner.scope}-{self.owner.name}")
        return self._asking

    async def _ask(self) -> None:
        wanted = self._wanted()
        try:
            changed = await self._shared.change(self.owner, self._stored, lambda data: self._step(data, wanted))
            self._stored, granted = changed
            self._alone = None
        except StoreAway:
            standing = _state(self._stored.data) if self._alone is None else self._alone
            granted = grant(self._limits, standing, self._clock(), wanted)
            self._alone = granted.state
        self._take(granted)

    def _wanted(self) -> Wanted:
        own = StreamHolder(self._holder, self._open, self._clock() + HELD_MS)
        opening = sum(cost.streams for cost in self._waiting)
        ahead = (self._streams or 0) // _AHEAD if self._open + opening else 0
        wanted = Wanted(own, streams=self._open + opening + ahead)
        # What is given back by this question is not to be used while it is under way.
        self._held = min(self._held, wanted.streams)
        # The least that somebody waits for: who wants more than there is does not hold up the others.
        if self._requests is not None:
            wanted = wanted._replace(requests=self._requests.draw(_least(cost.requests for cost in self._waiting)))
        if self._tokens is not None:
            wanted = wanted._replace(tokens=self._tokens.draw(_least(cost.tokens for cost in self._waiting)))
        return wanted

    def _step(self, data: bytes, wanted: Wanted) -> tuple[bytes, Granted]:
        now_ms, state = self._clock(), _state(data)
        if self._alone is not None:
            state = merged(self._limits, state, self._alone, now_ms)
        granted = grant(self._limits, state, now_ms, wanted)
        return encode(granted.state), granted

    def _take(self, granted: Granted) -> None:
        now_ms = self._asked_at_ms = self._clock()
        if self._requests is not None:
            self._requests.drawn(granted.requests, granted.state.requests, now_ms)
        if self._tokens is not None:
            self._tokens.drawn(granted.tokens, granted.state.tokens, now_ms)
        self._held, self._others = granted.streams, granted.others
        self._renew_at_ms = now_ms + _RENEW_MS

    def _missing(self, kind: Kind, lease: Lease | None, wanted: int, now_ms: int, *, is_fresh: bool) -> Shortage | None:
        if lease is None or lease.left >= wanted or (wanted <= lease.limit and not is_fresh):
            return None
        there = lease.remaining(now_ms)
        if there >= wanted:
            return None
        return Shortage(self.owner, kind, lease.limit, there, wanted, lease.wait_ms(now_ms, wanted))

    def _streams_missing(self, cost: Cost, *, is_fresh: bool) -> Shortage | None:
        limit = self._streams
        if limit is None or self._held >= self._open + cost.streams or not is_fresh:
            return None
        there = max(0, limit - self._others - self._open)
        if there >= cost.streams:
            return None
        return Shortage(self.owner, "streams", limit, there, cost.streams, _ASK_EVERY_MS)

    def _is_idle_place(self, now_ms: int) -> bool:
        ahead = (self._streams or 0) // _AHEAD if self._open else 0
        return self._held > self._open + ahead and now_ms - self._closed_at_ms >= IDLE_MS


def _lease(limit: int | None) -> Lease | None:
    return None if limit is None else Lease(limit)


def _least(wanted: Iterable[int]) -> int:
    """The least of those that want anything."""
    return min((each for each in wanted if each), default=0)


def _state(data: bytes) -> LimitState:
    """What the store holds; what cannot be read, since another version wrote it, begins anew."""
    if not data:
        return NOTHING_TAKEN
    try:
        return decode(data, LimitState)
    except UndecodableEvent:
        return NOTHING_TAKEN
