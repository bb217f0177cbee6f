"""What is known of the chain: kept for a while, read once however many ask, and bounded in size.

A DID that somebody proved to hold counts as known; when the chain cannot be asked, an older reading of it may serve, up
to a hard limit. Of every other DID nothing is assumed. The two are kept apart, so that strangers who name DIDs by the
thousand push out none that are in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from mesh.errors import ChainUnavailable, ResolverUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.identity.peaq.connection import Reading
    from mesh.identity.peaq.options import CacheOptions
    from mesh.identity.peaq.place import Place

KNOWN_MOST: Final = 20_000
"""How many DIDs that were proven are kept; one takes about a kilobyte."""

OTHERS_MOST: Final = 2_000
"""How many other readings are kept, most of them that there is nothing."""

FLIGHTS_MOST: Final = 64
"""How many places may be waited for at the same time; further ones are refused until there is room."""

_PATIENCE_S: Final = 0.5
"""How long the chain is waited for where an older reading may serve."""


class Source(Protocol):
    """Where readings come from: a ``ChainReader``."""

    async def read(self, place: Place) -> Reading:
        """Read a place, or raise ChainUnavailable."""
        ...


class Seen(NamedTuple):
    """A reading, how old it is, and whether it serves only because the chain cannot be asked."""

    reading: Reading
    age_s: float
    is_stale: bool


class _Held(NamedTuple):
    reading: Reading
    read_s: float


class Readings:
    """Readings of places, by any name that belongs to a place. For one event loop."""

    def __init__(self, source: Source, options: CacheOptions, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet."""
        self._source = source
        self._options = options
        self._clock = clock
        self._known: dict[str, _Held] = {}
        self._others: dict[str, _Held] = {}
        self._flights: dict[str, asyncio.Task[Reading]] = {}

    async def get(self, name: str, place: Place, *, at_most_s: float = float("inf")) -> Seen:
        """Return what the chain says of a place, as of ``at_most_s`` ago at most while the chain can be asked.

        Raises:
            ResolverUnavailable: if the chain cannot be asked, and nothing is kept that may serve instead.
        """
        held = self._known.get(name) or self._others.get(name)
        if held is not None and self._is_fresh(held, at_most_s):
            return self._seen(held)
        fallback = self._fallback(name)
        try:
            return Seen(
                await self._fly(name, place, self._options.wait_s if fallback is None else _PATIENCE_S), 0.0, False
            )
        except (ChainUnavailable, TimeoutError) as error:
            if fallback is not None:
                return self._seen(fallback)._replace(is_stale=True)
            told = str(error) or f"the chain was not read within {self._options.wait_s:g} s"
            raise ResolverUnavailable(f"the chain cannot be asked about {name}: {told}") from error

    def keep(self, name: str) -> None:
        """Count a DID as known, because its holder proved it."""
        held = self._others.pop(name, None) or self._known.pop(name, None)
        if held is not None:
            _put(self._known, name, held, KNOWN_MOST)

    async def close(self) -> None:
        """Wait for nothing any more."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        for flight in flights:
            with contextlib.suppress(asyncio.CancelledError, ChainUnavailable):
                await flight

    def _is_fresh(self, held: _Held, at_most_s: float) -> bool:
        if held.reading.entry is None or held.reading.is_expired:
            return self._age_s(held) <= min(self._options.missing_s, at_most_s)
        return self._age_s(held) <= min(self._options.found_s, at_most_s) and _still_holds(held)

    def _fallback(self, name: str) -> _Held | None:
        held = self._known.get(name)
        usable = held is not None and self._age_s(held) <= self._options.stale_s and _still_holds(held)
        return held if usable else None

    async def _fly(self, name: str, place: Place, timeout_s: float) -> Reading:
        flight = self._flights.get(name)
        if flight is None:
            if len(self._flights) >= FLIGHTS_MOST:
                raise ChainUnavailable(f"{FLIGHTS_MOST} DIDs are being looked up already: try again later")
            flight = self._flights[name] = asyncio.create_task(self._source.read(place), name=f"read {name}")
            flight.add_done_callback(lambda done: self._landed(name, done))
        # Who waits may give up; the reading goes on for the others, and for the next who asks.
        async with asyncio.timeout(timeout_s):
            await asyncio.wait((flight,))
        if flight.cancelled():
            raise ChainUnavailable("no more lookups: it was closed")
        return flight.result()

    def _landed(self, name: str, flight: asyncio.Task[Reading]) -> None:
        del self._flights[name]
        if flight.cancelled() or flight.exception() is not None:
            return
        held = _Held(flight.result(), self._clock())
        was_known = self._known.pop(name, None) is not None
        self._others.pop(name, None)
        if was_known and held.reading.entry is not None:
            _put(self._known, name, held, KNOWN_MOST)
        else:
            _put(self._others, name, held, OTHERS_MOST)

    def _seen(self, held: _Held) -> Seen:
        return Seen(held.reading, self._age_s(held), False)

    def _age_s(self, held: _Held) -> float:
        return self._clock() - held.read_s


def _still_holds(held: _Held) -> bool:
    return time.time() <= held.reading.holds_until_s


def _put(kept: dict[str, _Held], name: str, held: _Held, most: int) -> None:
    """Put it last, and let go of the one that was put longest ago when there are too many."""
    kept[name] = held
    while len(kept) > most:
        del kept[next(iter(kept))]
