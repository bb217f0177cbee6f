"""Which vector stores an account has, told by the last event of each chain: what was closed or expired stays so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.history.held_messages import subjects_held
from mesh.history.stream_facts import last_messages
from streams.codec import decode_store_event
from streams.errors import StreamsError
from streams.stores.events import StoreClosed, StoreExpired
from streams.stores.subjects import parse_store, stores_of
from streams.topology import STORES

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from streams.tokens import Token

_AT_ONCE: Final = 512
"""Chains asked for in one request: the broker answers for 1,024 at most."""
_REMEMBERED: Final = 20_000
"""Chains that are closed, so that they are not read again."""


class _Ends(NamedTuple):
    closed: frozenset[str]
    expired: frozenset[str]


class StoreNames:
    """Reads them over a connection in CORE. What cannot be read, or not yet, counts as there."""

    def __init__(self, core: Link) -> None:
        """Use ``core``."""
        self._core = core
        self._closed: dict[str, None] = {}

    async def there(self, account: Token) -> list[Token]:
        """Return the account's stores, but for closed ones, in no order.

        Raises:
            BusError: if they cannot be read.
        """
        subjects, ends = await self._read(account)
        return [parse_store(subject).store for subject in subjects if subject not in ends.closed]

    async def lasting(self, account: Token) -> list[Token]:
        """Return the account's stores, but for closed ones and those of which is said that they expired.

        Raises:
            BusError: if they cannot be read.
        """
        subjects, ends = await self._read(account)
        over = ends.closed | ends.expired
        return [parse_store(subject).store for subject in subjects if subject not in over]

    async def _read(self, account: Token) -> tuple[list[str], _Ends]:
        held = await subjects_held(self._core, STORES, stores_of(account))
        subjects = [subject for subject in held if subject not in self._closed]
        closed, expired = set[str](), set[str]()
        for first in range(0, len(subjects), _AT_ONCE):
            some = subjects[first : first + _AT_ONCE]
            for last in await last_messages(self._core, STORES, some, most=_AT_ONCE):
                try:
                    event = decode_store_event(last.data)
                except StreamsError:
                    # Of a newer version: that one is there.
                    continue
                if isinstance(event, StoreClosed):
                    closed.add(last.subject)
                elif isinstance(event, StoreExpired):
                    expired.add(last.subject)
        self._remember(closed)
        return subjects, _Ends(frozenset(closed), frozenset(expired))

    def _remember(self, closed: set[str]) -> None:
        self._closed.update(dict.fromkeys(closed))
        while len(self._closed) > _REMEMBERED:
            del self._closed[next(iter(self._closed))]
