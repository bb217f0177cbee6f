"""What is known of the chain: kept for a while, read once however many ask, and bounded in size.

A DID that somebody proved to hold counts as known; when the chain cannot be asked, an older reading of it may serve, up
to a hard limit. Of every other DID nothing is assumed. The two are kept apart, so that strangers who name DIDs by the
thousand push out none that are in use. What is known outlasts the process, and is shared with others like it, where
there is a store for it: of two readings the later one counts, whoever made it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from mesh.errors import ChainUnavailable, ResolverUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.identity.peaq.connection import Reading
    from mesh.identity.peaq.options import CacheOptions
    from mesh.identity.peaq.place import Place

log = logging.getLogger(__name__)

KNOWN_MOST: Final = 20_000
"""How many DIDs that were proven are kept; one takes about a kilobyte."""

OTHERS_MOST: Final = 2_000
"""How many other readings are kept, most of them that there is nothing."""

FLIGHTS_MOST: Final = 64
"""How many places may be waited for at the same time; further ones are refused until there is room."""

_PATIENCE_S: Final = 0.5
"""How long the chain is waited for where an older reading may serve."""

_FIRST_PATIENCE_S: Final = 1.5
"""The same before the first reading of this process: it may still be connecting, and the broker waits for longer."""

_CLOCKS_DIFFER_S: Final = 60.0
"""A reading from further in the future was made by a clock that nobody should believe."""


class Source(Protocol):
    """Where readings come from: a ``ChainReader``."""

    async def read(self, place: Place) -> Reading:
        """Read a place, or raise ChainUnavailable."""
        ...


class Remembered(NamedTuple):
    """A reading of a known DID, and when it was made."""

    reading: Reading
    read_at_ms: int
    """Unix milliseconds, by the clock of who read the chain."""


class ReadingStore(Protocol):
    """Where readings of known DIDs outlast a process. A store that is away remembers nothing, and raises nothing."""

    async def recall(self, name: str) -> Remembered | None:
        """Return the last reading of a DID that was proven once, if it is kept."""
        ...

    async def remember(self, name: str, remembered: Remembered) -> None:
        """Keep a reading in the place of the one before."""
        ...


class Seen(NamedTuple):
    """A reading, how old it is, and whether it serves only because the chain cannot be asked."""

    reading: Reading
    age_s: float
    read_at_ms: int
    """When the chain was read, in Unix milliseconds."""
    unconfirmed: str = ""
    """Why the chain cannot be asked, if it serves only because of that."""


class _Held(NamedTuple):
    reading: Reading
    read_s: float
    read_at_ms: int


class Readings:
    """Readings of places, by any name that belongs to a place. For one event loop."""

    def __init__(
        self,
        source: Source,
        options: CacheOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Know nothing yet."""
        self._source = source
        self._options = options
        self._clock = clock
        self._wall_clock = wall_clock
        self._store: ReadingStore | None = None
        self._has_read = False
        self._writes: set[asyncio.Task[None]] = set()
        self._known: dict[str, _Held] = {}
        self._others: dict[str, _Held] = {}
        self._flights: dict[str, asyncio.Task[_Held]] = {}

    def share(self, store: ReadingStore) -> None:
        """Remember known DIDs in a store, and recall from it what others or an earlier process have read."""
        self._store = store

    async def get(self, name: str, place: Place, *, at_most_s: float = float("inf")) -> Seen:
        """Return what the chain says of a place, as of ``at_most_s`` ago at most while the chain can be asked.

        Raises:
            ResolverUnavailable: if the chain cannot be asked, and nothing is kept that may serve instead.
        """
        held = self._fresh(name, at_most_s)
        if held is None and self._store is not None:
            await self._recall(name, self._store)
            held = self._fresh(name, at_most_s)
        if held is not None:
            return self._seen(held)
        fallback = self._fallback(name)
        wait_s = self._options.wait_s if fallback is None else _PATIENCE_S if self._has_read else _FIRST_PATIENCE_S
        try:
            return self._seen(await self._fly(name, place, wait_s))
        except (ChainUnavailable, TimeoutError) as error:
            told = str(error) or f"the chain was not read within {wait_s:g} s"
            if fallback is not None:
                return self._seen(fallback)._replace(unconfirmed=told)
            raise ResolverUnavailable(f"the chain cannot be asked about {name}: {told}") from error

    def keep(self, name: str) -> None:
        """Count a DID as known, because its holder proved it."""
        found = self._others.pop(name, None)
        held = found or self._known.pop(name, None)
        if held is not None:
            _put(self._known, name, held, KNOWN_MOST)
        if found is not None:
            self._remember(name, found)

    async def close(self) -> None:
        """Wait for nothing any more."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        for flight in flights:
            with contextlib.suppress(asyncio.CancelledError, ChainUnavailable):
                await flight
        await asyncio.gather(*self._writes)

    def _fresh(self, name: str, at_most_s: float) -> _Held | None:
        held = self._known.get(name) or self._others.get(name)
        return held if held is not None and self._is_fresh(held, at_most_s) else None

    def _is_fresh(self, held: _Held, at_most_s: float) -> bool:
        if held.reading.entry is None or held.reading.is_expired:
            return self._age_s(held) <= min(self._options.missing_s, at_most_s)
        return self._age_s(held) <= min(self._options.found_s, at_most_s) and _still_holds(held)

    def _fallback(self, name: str) -> _Held | None:
        held = self._known.get(name)
        usable = held is not None and self._age_s(held) <= self._options.stale_s and _still_holds(held)
        return held if usable else None

    async def _recall(self, name: str, store: ReadingStore) -> None:
        """Take in what the store remembers, if it was read later than what is kept here."""
        remembered = await store.recall(name)
        if remembered is None:
            return
        age_s = self._wall_clock() - remembered.read_at_ms / 1000
        if age_s < -_CLOCKS_DIFFER_S:
            log.error("what is remembered of %s is %.0f s from the future, and is not believed", name, -age_s)
            return
        held = _Held(remembered.reading, self._clock() - max(age_s, 0.0), remembered.read_at_ms)
        ours = self._known.get(name) or self._others.get(name)
        if ours is None or ours.read_at_ms < held.read_at_ms:
            self._take(name, held, is_known=True)

    async def _fly(self, name: str, place: Place, timeout_s: float) -> _Held:
        flight = self._flights.get(name)
        if flight is None:
            if len(self._flights) >= FLIGHTS_MOST:
                raise ChainUnavailable(f"{FLIGHTS_MOST} DIDs are being looked up already: try again later")
            flight = self._flights[name] = asyncio.create_task(self._read(place), name=f"read {name}")
            flight.add_done_callback(lambda done: self._landed(name, done))
        # Who waits may give up; the reading goes on for the others, and for the next who asks.
        await asyncio.wait((flight,), timeout=timeout_s)
        if not flight.done():
            raise TimeoutError
        if flight.cancelled():
            raise ChainUnavailable("no more lookups: it was closed")
        return flight.result()

    async def _read(self, place: Place) -> _Held:
        reading = await self._source.read(place)
        self._has_read = True
        return _Held(reading, self._clock(), int(self._wall_clock() * 1000))

    def _landed(self, name: str, flight: asyncio.Task[_Held]) -> None:
        del self._flights[name]
        if flight.cancelled() or flight.exception() is not None:
            return
        is_known = name in self._known
        self._take(name, flight.result(), is_known=is_known)
        if is_known:
            self._remember(name, flight.result())

    def _take(self, name: str, held: _Held, *, is_known: bool) -> None:
        self._known.pop(name, None)
        self._others.pop(name, None)
        if is_known and held.reading.entry is not None:
            _put(self._known, name, held, KNOWN_MOST)
        else:
            _put(self._others, name, held, OTHERS_MOST)

    def _remember(self, name: str, held: _Held) -> None:
        """Have it written; nobody waits for that. That nothing stands there any more is written as well."""
        if self._store is not None:
            write = asyncio.create_task(self._store.remember(name, Remembered(held.reading, held.read_at_ms)))
            self._writes.add(write)
            write.add_done_callback(self._writes.discard)

    def _seen(self, held: _Held) -> Seen:
        return Seen(held.reading, self._age_s(held), held.read_at_ms)

    def _age_s(self, held: _Held) -> float:
        return self._clock() - held.read_s


def _still_holds(held: _Held) -> bool:
    return time.time() <= held.reading.holds_until_s


def _put(kept: dict[str, _Held], name: str, held: _Held, most: int) -> None:
    """Put it last, and let go of the one that was put longest ago when there are too many."""
    kept[name] = held
    while len(kept) > most:
        del kept[next(iter(kept))]
